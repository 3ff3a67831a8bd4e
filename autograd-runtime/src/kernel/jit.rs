//! Compiles kernels and scalar programs into one module and owns its executable memory.
//! Invariant: memory is writable until [`Builder::finish`], executable after, and unmapped when
//! the last [`Code`] is dropped; no entry pointer leaves without a `Code` beside it.

use super::lanes::Lanes;
use super::scalar::{self, Function, ScalarFn, ScalarProgram};
use super::split::Meta;
use super::{CompileError, Kernel, emit, frame, plan, validate};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, Signature, Value, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

/// Machine code of a kernel: buffers, scratch, outer range, inner range.
///
/// The ranges are not empty, except for the inner range of a kernel whose inner size is 0. The
/// inner range is whole, or begins at a multiple of the plan's tile and has its length or ends the
/// whole, or (without a tile or inner reductions) has bounds at multiples of the driver's chunk.
pub type KernelFn = unsafe extern "C" fn(*const *mut u8, *mut u8, u64, u64, u64, u64);

/// The host: how to generate code for it, whether it has fused multiply-add, and what all programs share.
struct Host {
    isa: OwnedTargetIsa,
    fma: bool,
    grow: usize,
    _memory: Memory,
}

/// The host is detected once; every module shares it.
fn host() -> Result<&'static Host, CompileError> {
    static HOST: OnceLock<Result<Host, String>> = OnceLock::new();
    HOST.get_or_init(|| {
        let mut flags = settings::builder();
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        let wanted = [
            ("opt_level", "speed"),
            ("is_pic", "false"),
            ("use_colocated_libcalls", "false"),
            ("enable_probestack", "false"),
            ("enable_verifier", verify),
            ("unwind_info", "false"),
        ];
        for (name, value) in wanted {
            flags.set(name, value).map_err(|e| e.to_string())?;
        }
        let isa = cranelift_native::builder()
            .map_err(str::to_owned)?
            .finish(settings::Flags::new(flags))
            .map_err(|e| e.to_string())?;
        let has = |name: &str| isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
        let x86 = isa.triple().architecture.to_string() == "x86_64";
        // Without SSE4.1 rounding and vector operations would become calls of library functions.
        if x86 && !(has("has_sse41") && has("has_ssse3")) {
            return Err("x86-64 without SSE4.1".to_owned());
        }
        let fma = if x86 { has("has_fma") } else { true };
        let (grow, memory) = compile_grow(&isa)?;
        Ok(Host { isa, fma, grow, _memory: memory })
    })
    .as_ref()
    .map_err(|e| CompileError::Host(e.clone()))
}

/// The address of [`frame::grow`] behind a convention that leaves all registers as they were (`PreserveAll`): a loop that
/// seldom needs more memory then keeps its values in registers.
pub(super) fn grow() -> Result<usize, CompileError> {
    Ok(host()?.grow)
}
fn compile_grow(isa: &OwnedTargetIsa) -> Result<(usize, Memory), String> {
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    let names = cranelift_module::default_libcall_names();
    let mut module = JITModule::new(JITBuilder::with_isa(isa.clone(), names));
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.extend([AbiParam::new(types::I64); 2]);
    let (mut context, mut frontend) = (module.make_context(), FunctionBuilderContext::new());
    context.func.signature = Signature { call_conv: CallConv::PreserveAll, ..signature.clone() };
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let args = b.block_params(block).to_vec();
    let target = b.ins().iconst(types::I64, frame::grow as *const () as i64);
    let signature = b.import_signature(signature);
    b.ins().call_indirect(signature, target, &args);
    b.ins().return_(&[]);
    b.finalize(isa.frontend_config());
    let id = module.declare_anonymous_function(&context.func.signature).map_err(|e| failed(&e))?;
    module.define_function(id, &mut context).map_err(|e| failed(&e))?;
    module.finalize_definitions().map_err(|e| failed(&e))?;
    let address = module.get_finalized_function(id) as usize;
    Ok((address, Memory { module: Mutex::new(Some(module)) }))
}

/// A module's memory, freed with it.
struct Memory {
    /// In a mutex because the module itself is `Send` but not `Sync`.
    module: Mutex<Option<JITModule>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let module = match self.module.get_mut() {
            Ok(module) => module.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        if let Some(module) = module {
            // SAFETY: a Memory is owned by a Builder, which hands out no pointers, or by the
            // reference-counted Code. Entry pointers are only called while a Code is held.
            unsafe { module.free_memory() };
        }
    }
}

/// What was compiled under an index.
enum Entry {
    Kernel(Arc<Meta>),
    Scalar,
}

/// Collects functions into one module.
pub struct Builder {
    host: &'static Host,
    memory: Memory,
    context: Context,
    frontend: FunctionBuilderContext,
    entries: Vec<(FuncId, Entry)>,
    clif: Vec<String>,
    keep_clif: bool,
    bytes: usize,
}

impl Builder {
    /// An empty module for the host; the generated CLIF text is kept if `keep_clif`.
    pub fn new(keep_clif: bool) -> Result<Self, CompileError> {
        let host = host()?;
        let builder = JITBuilder::with_isa(host.isa.clone(), cranelift_module::default_libcall_names());
        let module = JITModule::new(builder);
        Ok(Builder {
            host,
            context: module.make_context(),
            memory: Memory { module: Mutex::new(Some(module)) },
            frontend: FunctionBuilderContext::new(),
            entries: Vec::new(),
            clif: Vec::new(),
            keep_clif,
            bytes: 0,
        })
    }

    /// Compiles a kernel; the result is its index in the finished [`Code`].
    pub fn add_kernel(&mut self, kernel: &Kernel) -> Result<usize, CompileError> {
        validate::kernel(kernel)?;
        let plan = plan::plan(kernel);
        let meta = Arc::new(Meta::new(kernel, &plan));
        let id = self.declare(self.pointers(6, false))?;
        self.define(id, &[], |lanes, params, _| emit::kernel(kernel, &plan, lanes, params))?;
        self.entries.push((id, Entry::Kernel(meta)));
        Ok(self.entries.len() - 1)
    }

    /// Compiles a scalar program and the functions that it calls; the result is its index in the finished [`Code`].
    pub fn add_scalar(&mut self, program: &ScalarProgram) -> Result<usize, CompileError> {
        scalar::check(program)?;
        let convention = self.host.isa.default_call_conv();
        let mut functions: Vec<(Arc<Function>, FuncId)> = Vec::new();
        for f in program.functions() {
            functions.push((f.clone(), self.declare(f.signature(convention))?));
        }
        let refs = |ids: &[FuncRef]| -> Vec<(Arc<Function>, FuncRef)> {
            functions.iter().map(|f| f.0.clone()).zip(ids.iter().copied()).collect()
        };
        let ids: Vec<FuncId> = functions.iter().map(|f| f.1).collect();
        let id = self.declare(self.pointers(3, true))?;
        self.define(id, &ids, |lanes, params, all| scalar::emit(program, lanes, params, &refs(all)))?;
        let index = self.entries.len();
        self.entries.push((id, Entry::Scalar));
        for (k, (f, id)) in functions.iter().enumerate() {
            self.define(*id, &ids, |lanes, params, all| scalar::emit_function(f, lanes, params, &refs(all), all[k]))?;
        }
        Ok(index)
    }

    /// A signature of pointer-sized parameters, and a status if there is one.
    fn pointers(&self, params: usize, status: bool) -> Signature {
        let mut signature = Signature::new(self.host.isa.default_call_conv());
        signature.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), params));
        signature.returns.extend(status.then(|| AbiParam::new(types::I32)));
        signature
    }

    fn declare(&mut self, signature: Signature) -> Result<FuncId, CompileError> {
        let failed = |e: &dyn std::fmt::Display| CompileError::Codegen(e.to_string());
        let module = self.memory.module.get_mut().map_err(|e| failed(&e))?;
        let module = module.as_mut().ok_or_else(|| failed(&"module is gone"))?;
        module.declare_anonymous_function(&signature).map_err(|e| failed(&e))
    }

    /// Compiles a declared function, which may call others.
    fn define(
        &mut self,
        id: FuncId,
        calls: &[FuncId],
        body: impl FnOnce(Lanes<'_, '_>, &[Value], &[FuncRef]) -> Result<(), CompileError>,
    ) -> Result<(), CompileError> {
        // Cranelift may panic on what it believes impossible; a caller can fall back on an error.
        let result = catch_unwind(AssertUnwindSafe(|| self.try_define(id, calls, body)));
        let result = result.unwrap_or_else(|_| Err(CompileError::Codegen("internal panic".into())));
        if result.is_err() {
            self.frontend = FunctionBuilderContext::new();
            self.context = Context::new();
        }
        result
    }

    fn try_define(
        &mut self,
        id: FuncId,
        calls: &[FuncId],
        body: impl FnOnce(Lanes<'_, '_>, &[Value], &[FuncRef]) -> Result<(), CompileError>,
    ) -> Result<(), CompileError> {
        let failed = |e: &dyn std::fmt::Display| CompileError::Codegen(e.to_string());
        let module = self.memory.module.get_mut().map_err(|e| failed(&e))?;
        let module = module.as_mut().ok_or_else(|| failed(&"module is gone"))?;
        let isa = &self.host.isa;
        let convention = isa.default_call_conv();
        self.context.clear();
        self.context.func.signature = module.declarations().get_function_decl(id).signature.clone();
        let mut refs = Vec::with_capacity(calls.len());
        for &callee in calls {
            let target = module.declare_func_in_func(callee, &mut self.context.func);
            // other functions of a module may be further away than a near call reaches
            self.context.func.dfg.ext_funcs[target].colocated = callee == id;
            refs.push(target);
        }

        let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.frontend);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        b.seal_block(block);
        let values = b.block_params(block).to_vec();
        body(Lanes::new(&mut b, self.host.fma, convention), &values, &refs)?;
        b.finalize(isa.frontend_config());

        if self.keep_clif {
            self.clif.push(self.context.func.display().to_string());
        } else {
            self.clif.push(String::new());
        }
        let defined = module.define_function(id, &mut self.context);
        if let Err(e) = defined {
            self.clif.pop();
            return Err(CompileError::Codegen(format!("{e:?}")));
        }
        self.bytes += self.context.compiled_code().map_or(0, |c| c.code_buffer().len());
        Ok(())
    }

    /// Makes the code executable.
    pub fn finish(mut self) -> Result<Code, CompileError> {
        let failed = |e: &dyn std::fmt::Display| CompileError::Codegen(e.to_string());
        let mut functions = Vec::with_capacity(self.entries.len());
        {
            let module = self.memory.module.get_mut().map_err(|e| failed(&e))?;
            let module = module.as_mut().ok_or_else(|| failed(&"module is gone"))?;
            module.finalize_definitions().map_err(|e| failed(&e))?;
            for (id, entry) in self.entries {
                functions.push((module.get_finalized_function(id) as usize, entry));
            }
        }
        let Builder { memory, clif, bytes, .. } = Builder { entries: Vec::new(), ..self };
        Ok(Code(Arc::new(Inner { _memory: memory, functions, clif, bytes })))
    }
}

struct Inner {
    _memory: Memory,
    functions: Vec<(usize, Entry)>,
    clif: Vec<String>,
    bytes: usize,
}

/// Finished code of one module; clones share it.
#[derive(Clone)]
pub struct Code(Arc<Inner>);

impl Code {
    /// Bytes of machine code.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// CLIF text of a function; empty unless the builder was asked to keep it.
    pub fn clif(&self, index: usize) -> &str {
        self.0.clif.get(index).map_or("", String::as_str)
    }

    /// How many of the functions are kernels.
    pub fn kernel_count(&self) -> usize {
        self.0.functions.iter().filter(|(_, e)| matches!(e, Entry::Kernel(_))).count()
    }

    /// Entry and description of a kernel. The entry is valid while a clone of this code lives.
    pub(super) fn kernel(&self, index: usize) -> Option<(KernelFn, Arc<Meta>)> {
        let (address, Entry::Kernel(meta)) = self.0.functions.get(index)? else { return None };
        // SAFETY: the address is that of a finalised function which `add_kernel` emitted with
        // exactly this signature and the host's calling convention.
        let entry = unsafe { std::mem::transmute::<usize, KernelFn>(*address) };
        Some((entry, meta.clone()))
    }

    /// Entry of a scalar program; to be called only while a clone of this code lives.
    pub fn scalar(&self, index: usize) -> Option<ScalarFn> {
        let (address, Entry::Scalar) = self.0.functions.get(index)? else { return None };
        // SAFETY: as for kernels, with the signature `add_scalar` emits.
        Some(unsafe { std::mem::transmute::<usize, ScalarFn>(*address) })
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Code>();
};
