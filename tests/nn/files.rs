//! NumPy's files: what NumPy writes is read, what is written NumPy could read, and what is neither is an error.

use crate::Folder;
use autograd::{
    Element, Error, StateDict, Tensor,
    data::{DataLoader, TensorDataset},
};

/// A file as NumPy lays it out, from its header's text.
fn numpy(header: &str, elements: &[u8]) -> Vec<u8> {
    let mut text = header.to_owned();
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let length = u16::try_from(text.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), elements].concat()
}
fn header(descriptor: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': '{descriptor}', 'fortran_order': {fortran}, 'shape': {shape}, }}")
}
struct File(Folder);
impl File {
    fn load<T: Element>(&self, bytes: &[u8]) -> Result<Tensor<T>, Error> {
        let path = self.0.0.join("x.npy");
        std::fs::write(&path, bytes).unwrap();
        Tensor::load_npy(path)
    }
    #[track_caller]
    fn refused<T: Element>(&self, bytes: &[u8], text: &str) {
        let e = self.load::<T>(bytes).unwrap_err().to_string();
        assert!(e.contains(text), "{e}");
    }
}

#[test]
fn what_numpy_writes_is_read() {
    let file = File(Folder::new("read"));
    let bytes: Vec<u8> = [1.5f32, -2.0, 0.25, 8.0, 0.0, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let x = file.load::<f32>(&numpy(&header("<f4", false, "(2, 3)"), &bytes)).unwrap();
    assert_eq!((x.shape(), x.to_vec()), (&[2, 3][..], vec![1.5, -2.0, 0.25, 8.0, 0.0, 3.0]));
    // the same elements with the first axis fastest
    let x = file.load::<f32>(&numpy(&header("<f4", true, "(2, 3)"), &bytes)).unwrap();
    assert_eq!((x.shape(), x.to_vec()), (&[2, 3][..], vec![1.5, 0.25, 0.0, -2.0, 8.0, 3.0]));
    let big: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    assert_eq!(file.load::<f64>(&numpy(&header(">f8", false, "(2,)"), &big)).unwrap().to_vec(), [1.5, -2.0]);
    let x = file.load::<i64>(&numpy(&header("<i8", false, "()"), &(-7i64).to_le_bytes())).unwrap();
    assert_eq!((x.shape(), x.item()), (&[][..], -7));
    assert_eq!(
        file.load::<i64>(&numpy(&header("|u1", false, "(3,)"), &[0, 128, 255])).unwrap().to_vec(),
        [0, 128, 255]
    );
    assert_eq!(file.load::<i64>(&numpy(&header("|i1", false, "(1, 2)"), &[128, 127])).unwrap().to_vec(), [-128, 127]);
    assert_eq!(file.load::<i64>(&numpy(&header(">i2", false, "(1,)"), &[255, 254])).unwrap().item(), -2);
    assert_eq!(file.load::<i64>(&numpy(&header("<u2", false, "(1,)"), &[255, 255])).unwrap().item(), 65535);
    assert_eq!(file.load::<i64>(&numpy(&header("<i4", false, "(1,)"), &[254, 255, 255, 255])).unwrap().item(), -2);
    assert_eq!(file.load::<i64>(&numpy(&header("<u4", false, "(1,)"), &[255; 4])).unwrap().item(), 4_294_967_295);
    assert_eq!(file.load::<i64>(&numpy(&header("<u8", false, "(1,)"), &[1, 0, 0, 0, 0, 0, 0, 0])).unwrap().item(), 1);
    assert_eq!(file.load::<bool>(&numpy(&header("|b1", false, "(2,)"), &[1, 0])).unwrap().to_vec(), [true, false]);
    let empty = file.load::<f32>(&numpy(&header("<f4", true, "(0, 3)"), &[])).unwrap();
    assert_eq!(empty.shape(), [0, 3]);
    // another order of keys, other quotes and spaces
    let odd = r#" {"shape":( 2 ,1, ) , "fortran_order" : False,"descr": "<i8"} "#;
    assert_eq!(file.load::<i64>(&numpy(odd, &[0; 16])).unwrap().shape(), [2, 1]);
    // a header's length of four bytes
    let mut second = numpy(&header("<f4", false, "(2, 3)"), &bytes);
    second[6] = 2;
    second.splice(10..10, [0, 0]);
    assert_eq!(file.load::<f32>(&second).unwrap().shape(), [2, 3]);
}

#[test]
fn what_is_written_is_laid_out_as_numpy_does() {
    let folder = Folder::new("written");
    let path = folder.0.join("x.npy");
    let x = Tensor::from_vec(vec![1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]);
    // a view is written in its own order
    x.t().save_npy(&path).unwrap();
    let bytes: Vec<u8> = [1.0f64, 3.0, 5.0, 2.0, 4.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let found = std::fs::read(&path).unwrap();
    assert_eq!(found, numpy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,3,), }", &bytes));
    assert_eq!(found.len() % 64, 48);
    fn round<T: Element>(x: &Tensor<T>, path: &std::path::Path) {
        x.save_npy(path).unwrap();
        let y = Tensor::<T>::load_npy(path).unwrap();
        assert_eq!((x.shape(), x.to_vec()), (y.shape(), y.to_vec()));
    }
    round(&Tensor::<f32>::arange(24).reshape(&[2, 3, 4]), &path);
    round(&Tensor::<f64>::scalar(f64::MIN_POSITIVE), &path);
    round(&Tensor::from_vec(vec![i64::MIN, i64::MAX], [2, 1]), &path);
    round(&Tensor::from_vec(vec![true, false, true], [3]), &path);
    round(&Tensor::<f32>::zeros([3, 0, 2]), &path);
    // tracked tensors are written as what they are
    round(&Tensor::<f64>::ones([2]).requires_grad_(true).detach(), &path);
    // more axes than the short header has room for
    let deep: Vec<usize> = vec![1; 40_000];
    round(&Tensor::<f32>::ones(&deep), &path);
    assert!(x.save_npy(folder.0.join("absent/x.npy")).is_err());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn hostile_arrays_are_errors() {
    let file = File(Folder::new("hostile"));
    let good = numpy(&header("<f8", false, "(2,)"), &[0; 16]);
    assert!(file.load::<f64>(&good).is_ok());
    for n in 0..good.len() {
        assert!(file.load::<f64>(&good[..n]).is_err(), "cut off after {n} bytes");
    }
    file.refused::<f32>(&good, "load_npy: expected dtype f32 in ");
    file.refused::<f64>(&[&good[..], &[0]].concat(), "expected 2 elements of 8 bytes, found 17 bytes");
    file.refused::<f64>(b"PK\x03\x04", "expected an array of NumPy's");
    // sizes that only arithmetic knows
    for shape in ["(1000000000000,)", "(4294967296, 4294967296)", "(9223372036854775807,)", "(0, 9223372036854775807)"]
    {
        assert!(file.load::<f64>(&numpy(&header("<f8", false, shape), &[0; 16])).is_err(), "{shape}");
    }
    file.refused::<f64>(&numpy(&header("<f8", false, "(18446744073709551616,)"), &[]), "expected an extent");
    file.refused::<f64>(&numpy(&header("<f8", false, "(-1,)"), &[]), "expected an extent, found '-'");
    let mut long = good.clone();
    (long[6], long[8], long[9], long[10], long[11]) = (2, 255, 255, 255, 255);
    file.refused::<f64>(&long, "the file is cut off");
    // no header makes the reader recurse
    for c in ["(", "[", "{", "'", "\"", "((((", ",", ":"] {
        assert!(file.load::<f64>(&numpy(&c.repeat(15_000), &[])).is_err());
        assert!(file.load::<f64>(&numpy(&header("<f8", false, &c.repeat(15_000)), &[])).is_err());
    }
    for (descriptor, text) in
        [("<f2", "the type \"<f2\""), ("<c8", "type"), ("|O", "type"), ("<M8[ns]", "type"), ("", "type")]
    {
        file.refused::<f64>(&numpy(&header(descriptor, false, "(1,)"), &[0; 8]), text);
    }
    file.refused::<f64>(&numpy(&header("é", false, "(1,)"), &[0; 8]), "type");
    file.refused::<i64>(&numpy(&header("<u8", false, "(1,)"), &[255; 8]), "expected integers that fit i64");
    file.refused::<bool>(&numpy(&header("|b1", false, "(1,)"), &[2]), "expected truth values of 0 and 1, found 2");
    file.refused::<f64>(&numpy(&header("<U18446744073709551615", false, "()"), &[0; 8]), "type");
    file.refused::<f64>(&numpy(&header("<U2", false, "()"), &[0; 8]), "found a text");
    file.refused::<f64>(&numpy("{'descr': '<f8', 'fortran_order': False}", &[0; 8]), "expected the keys");
    file.refused::<f64>(&numpy("{'descr': '<f8', 'x': 1}", &[0; 8]), "found the key \"x\"");
    file.refused::<f64>(&numpy("[1]", &[0; 8]), "the header is wrong: expected '{', found '['");
    file.refused::<f64>(&numpy(&format!("{} 3", header("<f8", false, "()")), &[0; 8]), "expected its end, found '3'");
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..800 {
        let mut bytes = good.clone();
        (0..rng.usize(1..5)).for_each(|_| bytes[rng.usize(0..80)] = rng.u8(..));
        let _ = file.load::<f64>(&bytes);
    }
}

#[test]
fn an_archive_holds_tensors_and_values() {
    let folder = Folder::new("archive");
    let path = folder.0.join("all.npz");
    let mut state = StateDict::default();
    state.insert_tensor("a.weight", &Tensor::<f32>::arange(6).reshape(&[2, 3]));
    state.insert_tensor("labels", &Tensor::<i64>::arange(3));
    state.insert_tensor("mask", &Tensor::from_vec(vec![true, false], [2]));
    state.insert("lr", 0.1);
    state.insert("name", "größe 🦀");
    state.insert("nothing", "");
    state.save_npz(&path).unwrap();
    let loaded = StateDict::load_npz(&path).unwrap();
    assert_eq!(format!("{state:?}"), format!("{loaded:?}"));
    assert_eq!(loaded.get::<f64>("lr").unwrap(), 0.1);
    // an array of a name that a value has too
    state.insert("labels", 1);
    assert!(state.save_npz(&path).is_err());
    assert_eq!(format!("{loaded:?}"), format!("{:?}", StateDict::load_npz(&path).unwrap()));
    std::fs::write(&path, b"PK").unwrap();
    let e = StateDict::load_npz(&path).unwrap_err().to_string();
    assert!(e.contains("StateDict::load_npz: ") && e.contains("all.npz"), "{e}");
}

#[test]
fn a_loader_runs_over_files() -> Result<(), Error> {
    let folder = Folder::new("loader");
    let (x, y) = (folder.0.join("x.npy"), folder.0.join("y.npy"));
    std::fs::write(
        &x,
        numpy(&header("<f4", false, "(5, 2)"), &(0..10).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>()),
    )
    .unwrap();
    std::fs::write(&y, numpy(&header("|u1", false, "(5,)"), &[0, 1, 2, 3, 4])).unwrap();
    let set = TensorDataset::new((Tensor::<f32>::load_npy(&x)?, Tensor::<i64>::load_npy(&y)?))?;
    let loader = DataLoader::new(set, 2)?.shuffle(3).drop_last(true);
    let mut seen = Vec::new();
    for (x, y) in &loader {
        assert_eq!((x.shape(), y.shape()), (&[2, 2][..], &[2][..]));
        for (x, y) in x.to_vec().chunks(2).zip(y.to_vec()) {
            assert_eq!(x, [2.0 * y as f32, 2.0 * y as f32 + 1.0]);
            seen.push(y);
        }
    }
    assert_eq!(seen.len(), 4);
    let mut state = StateDict::default();
    state.insert_tensor("x", &Tensor::<f32>::zeros([4, 3]));
    state.insert_tensor("y", &Tensor::<i64>::arange(4));
    state.save_npz(folder.0.join("set.npz"))?;
    let state = StateDict::load_npz(folder.0.join("set.npz"))?;
    let set = TensorDataset::new((state.tensor::<f32>("x")?, state.tensor::<i64>("y")?))?;
    assert_eq!(DataLoader::new(set, 3)?.iter().map(|(x, _)| x.shape()[0]).collect::<Vec<_>>(), [3, 1]);
    Ok(())
}
