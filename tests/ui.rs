//! What the macros say about wrong uses. Refresh with `TRYBUILD=overwrite cargo test --test ui` and read the diff.

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
