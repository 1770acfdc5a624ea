//! Long chains of operators: `a OR b OR c …`, `a + b + c …`.
//!
//! In: the parser behind the first operand. Out: a tree. A chain of AND or OR becomes a tree as flat as can be, as in Spark, so that
//! thousands of conditions may be joined. Other operators are left as they stand, one level an operator, and what comes later walks
//! down level by level: a chain that is too long for that is refused here.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// Most operators in a row that are neither AND nor OR.
pub(super) const MAX_OPERATORS: usize = 256;

/// `left AND right AND …` or `left OR right OR …`, from the operator on.
pub(super) fn logical(parser: &mut Parser, left: &Expr, word: Keyword, precedence: u8) -> Result<Expr, ParserError> {
    let op = if word == Keyword::AND { BinaryOperator::And } else { BinaryOperator::Or };
    let mut operands = vec![left.clone()];
    while parser.parse_keyword(word) {
        operands.push(parser.parse_subexpr(precedence)?);
    }
    let count = operands.len();
    joined(&mut operands.into_iter(), count, &op)
        .ok_or_else(|| ParserError::ParserError("Expected: an expression, found: EOF".into()))
}

/// The next `count` operands; Spark halves them in the same way, which shows in the names of columns.
fn joined(operands: &mut impl Iterator<Item = Expr>, count: usize, op: &BinaryOperator) -> Option<Expr> {
    if count < 2 {
        return operands.next();
    }
    let first = (count - 1) / 2 + 1;
    let left = Box::new(joined(operands, first, op)?);
    let right = Box::new(joined(operands, count - first, op)?);
    Some(Expr::BinaryOp { left, op: op.clone(), right })
}

/// Refuses another operator behind `left` if too many stand there in a row.
pub(super) fn too_long(left: &Expr) -> Option<ParserError> {
    let mut next = left;
    for _ in 0..MAX_OPERATORS {
        let Expr::BinaryOp { left, .. } = next else { return None };
        next = left;
    }
    let message = format!("more than {MAX_OPERATORS} operators in a row; put parts of them in brackets");
    Some(ParserError::ParserError(message))
}

#[cfg(test)]
mod tests {
    use crate::sql::parse::parse_expression;

    fn many(count: usize, op: &str) -> String {
        (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(op)
    }

    #[test]
    fn chains_of_conditions_are_halved_as_in_spark() {
        assert_eq!(brackets("a OR b OR c"), "((a b) c)");
        assert_eq!(brackets("a AND b AND c AND d"), "((a b) (c d))");
        assert_eq!(brackets("a AND b OR c AND d AND e"), "((a b) ((c d) e))");
        assert_eq!(brackets("x BETWEEN 1 AND 2 AND b OR c"), "((x BETWEEN 1 AND 2 b) c)");
    }

    fn brackets(text: &str) -> String {
        fn show(expr: &datafusion::sql::sqlparser::ast::Expr) -> String {
            match expr {
                super::Expr::BinaryOp { left, right, .. } => format!("({} {})", show(left), show(right)),
                other => other.to_string(),
            }
        }
        show(&parse_expression(text).unwrap())
    }

    #[test]
    fn p03_thousands_of_conditions_are_parsed_and_long_sums_refused() {
        for op in [" OR ", " AND "] {
            parse_expression(&many(20_000, op)).unwrap();
        }
        parse_expression(&many(super::MAX_OPERATORS, " + ")).unwrap();
        for op in [" + ", " || ", " DIV ", " = ", " << "] {
            let error = parse_expression(&many(5_000, op)).unwrap_err();
            assert!(error.message().contains("256 operators in a row"), "{error}");
        }
    }
}
