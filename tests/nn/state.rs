//! States of modules: what is saved, what is refused, and that a refused state changes nothing.

use crate::{Folder, tensor};
use autograd::{
    StateDict, Tensor,
    nn::{BatchNorm1d, Linear, LstmCell, Module, Relu, Sequential},
};

fn network() -> Sequential<f32> {
    let inner = Sequential::new().add(Relu).add(Linear::new(4, 2));
    Sequential::new().add(Linear::new(3, 4)).add(BatchNorm1d::new(4)).add(inner)
}
/// Everything that a module is, as text.
fn all(net: &dyn Module<f32>) -> String {
    format!("{:?}", net.state_dict())
}

#[test]
fn a_state_has_parameters_and_buffers_under_their_paths() {
    let net = network();
    net.forward(&tensor(&[5, 3], 0.0));
    let state = net.state_dict();
    let names: Vec<&str> = state.tensor_names().collect();
    let want = [
        "0.bias",
        "0.weight",
        "1.bias",
        "1.num_batches_tracked",
        "1.running_mean",
        "1.running_var",
        "1.weight",
        "2.1.bias",
        "2.1.weight",
    ];
    assert_eq!(names, want);
    assert_eq!(state.tensor::<i64>("1.num_batches_tracked").unwrap().item(), 1);
    assert!(!state.tensor::<f32>("0.weight").unwrap().requires_grad());
    // copies: training goes on without them
    let before = state.tensor::<f32>("1.running_mean").unwrap().to_vec();
    net.forward(&tensor(&[5, 3], 1.0));
    assert_eq!(state.tensor::<f32>("1.running_mean").unwrap().to_vec(), before);
}

#[test]
fn a_loaded_module_is_the_saved_one() {
    let folder = Folder::new("state");
    let (net, other) = (network(), network());
    (0..3).for_each(|i| drop(net.forward(&tensor(&[5, 3], f64::from(i)))));
    net.forward(&tensor(&[5, 3], 3.0)).sum().backward().unwrap();
    let parameters = other.parameters();
    net.state_dict().save(folder.0.join("net.safetensors")).unwrap();
    other.load_state_dict(&StateDict::load(folder.0.join("net.safetensors")).unwrap()).unwrap();
    assert_eq!(all(&net), all(&other));
    // the parameters are the tensors that they were, leaves that an optimiser may hold
    for (old, new) in parameters.iter().zip(other.parameters()) {
        assert!(new.is_leaf() && new.requires_grad() && new.grad().is_none());
        assert_eq!(old.detach().to_vec(), new.detach().to_vec());
    }
    net.state_dict().save_npz(folder.0.join("net.npz")).unwrap();
    let third = network();
    third.load_state_dict(&StateDict::load_npz(folder.0.join("net.npz")).unwrap()).unwrap();
    assert_eq!(all(&net), all(&third));
    net.eval();
    third.eval();
    let x = tensor(&[1, 3], 7.0);
    assert_eq!(net.forward(&x).detach().to_vec(), third.forward(&x).detach().to_vec());
    // values beside the tensors, as the metadata of a file has them, do not matter
    let mut state = net.state_dict();
    state.insert("format", "pt");
    third.load_state_dict(&state).unwrap();
    // a state of a part
    let mut checkpoint = StateDict::default();
    checkpoint.insert_all("net", net.state_dict());
    third.load_state_dict(&checkpoint.part("net")).unwrap();
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let (net, good) = (network(), network().state_dict());
    let before = all(&net);
    let refused = |state: &StateDict, texts: &[&str]| {
        let e = net.load_state_dict(state).unwrap_err().to_string();
        for text in texts {
            assert!(e.contains(text), "{e}");
        }
        assert_eq!(all(&net), before);
    };
    refused(&StateDict::default(), &["load_state_dict: ", "missing: 0.weight, 0.bias, 1.weight", "2.1.bias"]);
    let with = |f: &dyn Fn(&mut StateDict)| {
        let mut state = good.clone();
        f(&mut state);
        state
    };
    refused(&with(&|s| s.insert_tensor("3.weight", &Tensor::<f32>::ones([1]))), &["unexpected: 3.weight"]);
    let shape = with(&|s| s.insert_tensor("2.1.bias", &Tensor::<f32>::ones([3])));
    refused(&shape, &["2.1.bias of f32 [3] for f32 [2]"]);
    let dtype = with(&|s| s.insert_tensor("0.bias", &Tensor::<f64>::ones([4])));
    refused(&dtype, &["0.bias of f64 [4] for f32 [4]"]);
    let count = with(&|s| s.insert_tensor("1.num_batches_tracked", &Tensor::<f32>::scalar(1.0)));
    refused(&count, &["1.num_batches_tracked of f32 [] for i64 []"]);
    // all that is wrong is named at once
    let mut state = StateDict::default();
    state.insert_tensor("0.weight", &Tensor::<f32>::ones([4]));
    state.insert_tensor("other", &Tensor::<f32>::ones([4]));
    refused(&state, &["0.weight of f32 [4] for f32 [4, 3]", "missing: 0.bias", "unexpected: other"]);
    // a parameter that cannot be written is found before any is written
    let mut odd = LstmCell::<f32>::new(2, 2);
    odd.bias_hh = Some(Tensor::ones([8, 2]).select(1, 0));
    let before = all(&odd);
    assert!(odd.load_state_dict(&LstmCell::<f32>::new(2, 2).state_dict()).is_err());
    assert_eq!(all(&odd), before);
}

#[test]
fn a_shared_parameter_is_saved_at_both_places() {
    let shared = Linear::<f32>::without_bias(2, 2);
    let twin = Linear { weight: shared.weight.clone(), bias: None };
    let net = Sequential::new().add(shared).add(twin);
    assert_eq!(net.parameters().len(), 1);
    let state = net.state_dict();
    assert_eq!(state.tensor_names().collect::<Vec<_>>(), ["0.weight", "1.weight"]);
    net.load_state_dict(&state).unwrap();
}

#[test]
fn broken_files_are_errors() {
    let folder = Folder::new("broken");
    let (net, file) = (network(), folder.0.join("net"));
    let before = all(&net);
    type Load = fn(&std::path::Path) -> autograd::Result<StateDict>;
    let save: [(&dyn Fn(), Load); 2] = [
        (&|| net.state_dict().save(&file).unwrap(), |p| StateDict::load(p)),
        (&|| net.state_dict().save_npz(&file).unwrap(), |p| StateDict::load_npz(p)),
    ];
    for (save, load) in save {
        save();
        let whole = std::fs::read(&file).unwrap();
        let of = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            load(&file)
        };
        assert!(of(&whole).is_ok());
        // headers whole, elements in strides: a file is slow to write
        for n in (0..whole.len()).filter(|n| n % 5 == 0 || *n < 64 || *n + 64 > whole.len()) {
            assert!(of(&whole[..n]).is_err(), "cut off after {n} bytes");
        }
        // other bytes: an error or another state, but never a panic, and never half of it
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..400 {
            let mut bytes = whole.clone();
            (0..rng.usize(1..5)).for_each(|_| bytes[rng.usize(0..whole.len())] = rng.u8(..));
            if let Ok(state) = of(&bytes) {
                let other = network();
                let start = all(&other);
                if other.load_state_dict(&state).is_err() {
                    assert_eq!(all(&other), start);
                }
            }
        }
    }
    assert_eq!(all(&net), before);
    assert!(StateDict::load_npz(&folder.0).unwrap_err().to_string().contains("not a file"));
    assert!(net.state_dict().save_npz(folder.0.join("absent/net.npz")).is_err());
    // what could not be put in its place is not left beside it
    std::fs::create_dir(folder.0.join("taken")).unwrap();
    assert!(net.state_dict().save_npz(folder.0.join("taken")).is_err());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 2);
}
