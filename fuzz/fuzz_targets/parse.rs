//! Foreign text as PromQL: an error, or a tree that prints to a text which parses to the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mytsdb_promql::parse::ast::{Expr, ExprKind};
use mytsdb_promql::{ParseOptions, parse};

fuzz_target!(|text: &str| {
    let options = ParseOptions::default();
    let Ok(mut tree) = parse(text, &options) else { return };
    let printed = tree.to_string();
    let mut again = match parse(&printed, &options) {
        Ok(again) => again,
        // Printing may lengthen a text, and so reach a limit.
        Err(error) if error.message.contains("the limit is") => return,
        Err(error) => panic!("{text:?} prints as {printed:?}: {error}"),
    };
    assert_eq!(again.to_string(), printed, "{text:?}");
    // NaN is not equal to itself.
    if !printed.contains("NaN") {
        normalize(&mut tree);
        normalize(&mut again);
        assert_eq!(tree, again, "{text:?} prints as {printed:?}");
    }
});

/// Takes away what printing does not keep: places, and the order of matchers.
fn normalize(tree: &mut Expr) {
    tree.clear_spans();
    tree.walk_mut(|node| {
        if let ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } = &mut node.kind {
            selector.matchers.sort_by_key(ToString::to_string);
        }
    });
}
