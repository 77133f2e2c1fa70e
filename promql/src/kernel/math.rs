//! Functions of one or two numbers, with Go's special cases.

use crate::parse::ast::BinaryOp;

/// A function of one number by its PromQL name.
pub(crate) fn unary(function: &str) -> Option<fn(f64) -> f64> {
    Some(match function {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        _ => return None,
    })
}

/// The larger of two numbers, as Go: NaN if either is NaN, unless one is +Inf (unlike `f64::max`); +0 is above -0.
#[inline]
pub(crate) fn max(left: f64, right: f64) -> f64 {
    if left == f64::INFINITY || right == f64::INFINITY {
        f64::INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left == 0.0 && right == 0.0 {
        if left.is_sign_negative() { right } else { left }
    } else {
        left.max(right)
    }
}

/// The smaller of two numbers, as Go: NaN if either is NaN, unless one is -Inf (unlike `f64::min`); -0 is below +0.
#[inline]
pub(crate) fn min(left: f64, right: f64) -> f64 {
    if left == f64::NEG_INFINITY || right == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left == 0.0 && right == 0.0 {
        if left.is_sign_negative() { left } else { right }
    } else {
        left.min(right)
    }
}

/// Rounds to a multiple of `1 / inverse`, ties upwards.
#[inline]
pub(crate) fn round(value: f64, inverse: f64) -> f64 {
    (value * inverse + 0.5).floor() / inverse
}

/// Arithmetic operators.
#[inline]
pub(crate) fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

/// Comparison operators.
#[inline]
pub(crate) fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterOrEqual => left >= right,
        BinaryOp::LessOrEqual => left <= right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_spreads_through_minimum_and_maximum() {
        assert!(max(f64::NAN, 1.0).is_nan() && min(1.0, f64::NAN).is_nan());
        assert_eq!(
            (max(f64::NAN, f64::INFINITY), min(f64::NEG_INFINITY, f64::NAN)),
            (f64::INFINITY, f64::NEG_INFINITY)
        );
        assert!(max(f64::NAN, f64::NEG_INFINITY).is_nan() && min(f64::INFINITY, f64::NAN).is_nan());
        assert_eq!(max(-0.0, 0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(min(0.0, -0.0).to_bits(), (-0.0_f64).to_bits());
    }

    #[test]
    fn ties_are_rounded_up() {
        assert_eq!([2.5, -2.5, 0.5].map(|value| round(value, 1.0)), [3.0, -2.0, 1.0]);
    }

    #[test]
    fn remainder_has_the_sign_of_the_dividend() {
        assert_eq!(arithmetic(BinaryOp::Mod, -5.5, 2.0), -1.5);
        assert!(arithmetic(BinaryOp::Mod, 5.0, 0.0).is_nan());
    }

    #[test]
    fn sign_of_nan_and_zero_is_itself() {
        let sgn = unary("sgn").unwrap();
        assert!(sgn(f64::NAN).is_nan());
        assert_eq!(sgn(-0.0).to_bits(), (-0.0_f64).to_bits());
    }
}
