//! The function table: what functions there are, what they take and give.
//!
//! Read by the parser (names), the type checker (types), the documentation and the tests. Kernels are found by name
//! in the evaluator.

mod table;

use crate::parse::ast::ValueType;

/// A function as its callers see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FunctionSignature {
    /// The name.
    pub name: &'static str,
    /// Types of the arguments; the last one stands for all further arguments.
    pub arg_types: &'static [ValueType],
    /// Fewest arguments.
    pub arg_count_min: usize,
    /// Most arguments; `None` = any number.
    pub arg_count_max: Option<usize>,
    /// Type of the result.
    pub return_type: ValueType,
    /// Whether Prometheus 3.14 has it behind a feature flag.
    pub is_experimental: bool,
    /// What it does, in one line.
    pub doc: &'static str,
    /// A query that uses it.
    pub example: &'static str,
}

impl FunctionSignature {
    /// The type of the argument at `index`; `None` if the function takes no arguments.
    pub fn arg_type(&self, index: usize) -> Option<ValueType> {
        self.arg_types.get(index).or(self.arg_types.last()).copied()
    }
}

/// All functions, sorted by name.
pub fn all() -> &'static [FunctionSignature] {
    table::FUNCTIONS
}

/// The function of this name, if there is one.
///
/// # Cost
/// A binary search of 90 names.
pub fn lookup(name: &str) -> Option<&'static FunctionSignature> {
    let index = table::FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    table::FUNCTIONS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::ast::{Expr, ExprKind};
    use crate::parse::{ParseOptions, parse};

    #[test]
    fn table_is_sorted_and_holds_the_functions_of_prometheus() {
        assert!(all().is_sorted_by(|left, right| left.name < right.name));
        assert_eq!(all().len(), 90);
        assert_eq!(all().iter().filter(|function| function.is_experimental).count(), 17);
        assert_eq!(lookup("holt_winters"), None);
    }

    #[test]
    fn every_example_parses_and_calls_its_function() {
        for function in all() {
            let expr = parse(function.example, &ParseOptions::default())
                .unwrap_or_else(|error| panic!("{}: {error}", function.example));
            assert!(expr.contains_call(function.name), "{}", function.example);
            assert!(!function.doc.is_empty() && !function.doc.ends_with('.'), "{}", function.name);
        }
    }

    #[test]
    fn result_types_are_those_of_the_table() {
        for function in all() {
            let mut found = None;
            let expr = parse(function.example, &ParseOptions::default()).unwrap();
            expr.walk(|node: &Expr| {
                if matches!(&node.kind, ExprKind::Call { function: name, .. } if *name == function.name) {
                    found = Some(node.value_type());
                }
            });
            assert_eq!(found, Some(function.return_type), "{}", function.name);
        }
    }
}
