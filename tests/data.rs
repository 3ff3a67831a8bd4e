//! Data sets and loaders.

use autograd::{
    Tensor,
    data::{DataLoader, Dataset, TensorDataset},
    ndarray::{Array2, Array3},
};

fn orders(loader: &DataLoader<TensorDataset<Tensor<i64>>>, epochs: usize) -> Vec<Vec<Vec<i64>>> {
    (0..epochs).map(|_| loader.iter().map(|b| b.to_vec()).collect()).collect()
}
fn numbers(n: usize) -> TensorDataset<Tensor<i64>> {
    TensorDataset::new(Tensor::arange(n)).unwrap()
}

#[test]
fn batches_come_in_order_without_shuffling() {
    let loader = DataLoader::new(numbers(7), 3).unwrap();
    assert_eq!(orders(&loader, 2), vec![vec![vec![0, 1, 2], vec![3, 4, 5], vec![6]]; 2]);
    let loader = loader.drop_last(true);
    assert_eq!((loader.len(), loader.iter().len()), (2, 2));
    assert_eq!(orders(&loader, 1)[0], [[0, 1, 2], [3, 4, 5]]);
    let loader = DataLoader::new(numbers(7), usize::MAX).unwrap();
    assert_eq!(orders(&loader, 1), [[[0, 1, 2, 3, 4, 5, 6]]]);
    assert!(DataLoader::new(numbers(7), 8).unwrap().drop_last(true).is_empty());
}

#[test]
fn shuffling_is_new_in_each_epoch_and_the_same_for_a_seed() {
    let make = |seed| DataLoader::new(numbers(101), 10).unwrap().shuffle(seed);
    let a = orders(&make(5), 3);
    assert_eq!(orders(&make(5), 3), a);
    assert_ne!(orders(&make(6), 1)[0], a[0]);
    assert!(a[0] != a[1] && a[1] != a[2]);
    for epoch in a {
        let mut all = epoch.concat();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..101));
    }
}

#[test]
fn columns_stay_together() {
    let x = Array3::from_shape_fn((20, 2, 3), |(i, j, k)| (i * 6 + j * 3 + k) as f32);
    // views are read through their strides
    let y = Tensor::<f64>::arange(40).reshape(&[2, 20]).t();
    let set = TensorDataset::new((x, &y, Tensor::<i64>::arange(20))).unwrap();
    assert_eq!(set.len(), 20);
    let loader = DataLoader::new(set, 6).unwrap().shuffle(0);
    let mut seen = 0;
    for (x, y, i) in &loader {
        assert_eq!((x.shape()[1..].to_vec(), y.shape()[1]), (vec![2, 3], 2));
        for (r, i) in i.to_vec().into_iter().enumerate() {
            assert_eq!(x.to_vec()[r * 6..][..6], Vec::from_iter((0..6).map(|k| (i * 6 + k) as f32)));
            assert_eq!(y.to_vec()[r * 2..][..2], [i as f64, (i + 20) as f64]);
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
}

#[test]
fn no_samples_and_no_features() {
    let set = TensorDataset::new((Array2::<f32>::zeros((0, 3)), Tensor::<i64>::zeros([0]))).unwrap();
    assert!(set.is_empty() && DataLoader::new(set, 2).unwrap().iter().next().is_none());
    let set = TensorDataset::new(Tensor::<f32>::zeros([3, 0])).unwrap();
    assert_eq!(
        DataLoader::new(set, 2).unwrap().iter().map(|b| b.shape().to_vec()).collect::<Vec<_>>(),
        [[2, 0], [1, 0]]
    );
}

#[test]
fn errors_say_what_is_expected() {
    let e = TensorDataset::new((Tensor::<f32>::zeros([3, 2]), Tensor::<i64>::zeros([4]))).unwrap_err().to_string();
    assert_eq!(e, "TensorDataset: expected tensors of one leading extent, found [3, 2], [4]");
    let e = TensorDataset::new(Tensor::<f32>::scalar(1.0)).unwrap_err().to_string();
    assert_eq!(e, "TensorDataset: expected tensors of one leading extent, found []");
    let e = DataLoader::new(numbers(3), 0).unwrap_err().to_string();
    assert_eq!(e, "DataLoader: expected a batch size of at least 1, found 0");
    let e = autograd::try_eval(|| numbers(3).batch(&[1, 3])).unwrap_err().to_string();
    assert!(e.contains("TensorDataset: expected indices below 3, found 3"), "{e}");
}
