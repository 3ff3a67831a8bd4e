//! From a lowered graph in which every value has one element to a scalar program, control flow included.

use crate::{
    graph::{Graph, Node, NodeId},
    kernel::{self, Inst, Lowering, Node as KNode, NodeKind, ScalarProgram},
    op::{
        Lower,
        control::{IF, PROJ, WHILE, WHILE_BACK, WHILE_SAVE},
        create,
    },
    ty::DType,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// The scalar program of a graph and the number of its arenas; `None` if the graph has other values than scalars, or
/// too many nodes for one function (then it is split into kernels over a domain of one element).
pub(super) fn scalar_program(g: &Graph) -> Option<(ScalarProgram, usize)> {
    let mut arenas = 0;
    let program = region(g, &mut arenas)?;
    (size(&program) <= kernel::MAX_NODES).then_some((program, arenas))
}

/// Instructions, those of sub-programs included; as deep as the source nests them.
fn size(p: &ScalarProgram) -> usize {
    let of = |i: &Inst| match i {
        Inst::Node(_) | Inst::Result { .. } => 1,
        Inst::If { branches, .. } => branches.iter().map(size).sum(),
        Inst::While { cond, body, .. } => size(cond) + size(body),
        Inst::Back { step, .. } => size(step),
    };
    p.insts.iter().map(of).sum()
}

fn region(g: &Graph, arenas: &mut usize) -> Option<ScalarProgram> {
    let live = g.live();
    let mut insts: Vec<Inst> = Vec::new();
    let mut map: Vec<Option<u32>> = vec![None; g.len()];
    // the arena of each loop that records, and what it records
    let mut records: FxHashMap<NodeId, (usize, Vec<DType>)> = FxHashMap::default();
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        if n.ty.numel() != 1 || n.ty.dtype == DType::I64 && n.op.is(&create::INPUT) && n.ty.rank() > 0 {
            return None;
        }
        let args: SmallVec<[u32; 3]> = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>()?;
        let inst = match n.op.def.lower {
            // over one element these change nothing
            Lower::View(_) | Lower::Reduce(_) => {
                map[id.index()] = Some(args[0]);
                continue;
            }
            Lower::MatMul => return None,
            Lower::Library => control(g, id, n, args.to_vec(), &mut records, arenas)?,
            _ => Inst::Node(KNode { kind: single(n, args)?, dtype: n.ty.dtype }),
        };
        map[id.index()] = Some(insts.len() as u32);
        insts.push(inst);
    }
    let outputs = g.outputs().iter().map(|o| map[o.index()]).collect::<Option<_>>()?;
    Some(ScalarProgram { insts, outputs })
}

fn single(n: &Node, args: SmallVec<[u32; 3]>) -> Option<NodeKind> {
    let elementwise = |lowering| NodeKind::Elementwise { lowering, args: args.clone() };
    Some(match n.op.def.lower {
        _ if n.op.is(&create::INPUT) => {
            let access = kernel::Access { offset: 0, outer: SmallVec::new(), inner: 0 };
            NodeKind::Load { buffer: u16::try_from(n.op.int(0)).ok()?, access }
        }
        Lower::Const => NodeKind::Const { bits: n.op.bits(1) },
        Lower::Iota => NodeKind::Const { bits: 0 },
        Lower::Inline(f) => elementwise(Lowering::Inline(f)),
        Lower::Unary(f) => elementwise(Lowering::Unary(f)),
        Lower::Binary(f) => elementwise(Lowering::Binary(f)),
        Lower::Powi => elementwise(Lowering::Powi(n.op.int(0) as i32)),
        Lower::View(_) | Lower::Reduce(_) | Lower::MatMul | Lower::Library => return None,
    })
}

fn control(
    g: &Graph,
    id: NodeId,
    n: &Node,
    args: Vec<u32>,
    records: &mut FxHashMap<NodeId, (usize, Vec<DType>)>,
    arenas: &mut usize,
) -> Option<Inst> {
    let op = &n.op;
    if op.is(&create::INPUT) {
        return Some(Inst::Node(KNode { kind: single(n, SmallVec::new())?, dtype: n.ty.dtype }));
    }
    if op.is(&PROJ) {
        return Some(Inst::Result { of: args[0], index: op.int(0) as usize, dtype: n.ty.dtype });
    }
    if op.is(&IF) {
        let branches = Box::new([region(op.graph(0), arenas)?, region(op.graph(1), arenas)?]);
        return Some(Inst::If { cond: args[0], args: args[1..].to_vec(), branches });
    }
    if op.is(&WHILE_BACK) {
        let token = g.node(n.args[0]);
        let (arena, record) = records.get(token.args.first()?)?.clone();
        let step = Box::new(region(op.graph(0), arenas)?);
        let cut = args.len() - op.int(2) as usize;
        let (captures, cotangents) = (args[1..cut].to_vec(), args[cut..].to_vec());
        return Some(Inst::Back { step, trips: args[0], captures, cotangents, arena, record });
    }
    if !op.is(&WHILE) && !op.is(&WHILE_SAVE) {
        return None;
    }
    let save = op.is(&WHILE_SAVE).then(|| {
        let kept: Vec<usize> = op.ints(3).iter().map(|&i| i as usize).collect();
        let types = kept.iter().map(|&i| g.ty(n.args[i]).dtype).collect();
        *arenas += 1;
        records.insert(id, (*arenas - 1, types));
        (*arenas - 1, kept)
    });
    let (cond, body) = (Box::new(region(op.graph(0), arenas)?), Box::new(region(op.graph(1), arenas)?));
    Some(Inst::While { cond, body, args, carried: op.int(2) as usize, save })
}
