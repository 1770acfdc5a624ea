//! `Window`: which rows a window function sees, for [`super::column::Column::over`].
//!
//! In: partition and sort columns and a frame. Out: the syntax tree of an OVER clause.

use crate::sql::ast::{self, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::column::{Column, IntoOperand};
use crate::Result;

/// Entry points of window specifications, as in Spark.
#[derive(Debug, Clone, Copy)]
pub struct Window;

impl Window {
    /// Bound of a frame: all rows before.
    pub const UNBOUNDED_PRECEDING: i64 = i64::MIN;
    /// Bound of a frame: all rows behind.
    pub const UNBOUNDED_FOLLOWING: i64 = i64::MAX;
    /// Bound of a frame: this row.
    pub const CURRENT_ROW: i64 = 0;

    /// Windows of rows that agree in these columns.
    pub fn partition_by(columns: impl IntoIterator<Item = impl Into<Column>>) -> WindowSpec {
        WindowSpec::default().partition_by(columns)
    }

    /// One window of all rows, sorted.
    pub fn order_by(columns: impl IntoIterator<Item = impl Into<Column>>) -> WindowSpec {
        WindowSpec::default().order_by(columns)
    }
}

/// Which rows a window function sees.
#[derive(Debug, Clone, Default)]
pub struct WindowSpec {
    partition: Vec<Column>,
    order: Vec<Column>,
    frame: Option<(WindowFrameUnits, i64, i64)>,
}

impl WindowSpec {
    /// Windows of rows that agree in these columns.
    pub fn partition_by(mut self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Self {
        self.partition = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sorts the rows of each window.
    pub fn order_by(mut self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Self {
        self.order = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The frame by number of rows relative to the current one, both ends included.
    pub fn rows_between(mut self, start: i64, end: i64) -> Self {
        self.frame = Some((WindowFrameUnits::Rows, start, end));
        self
    }

    /// The frame by distance of the sort column's value, both ends included.
    pub fn range_between(mut self, start: i64, end: i64) -> Self {
        self.frame = Some((WindowFrameUnits::Range, start, end));
        self
    }

    pub(crate) fn into_tree(self) -> Result<ast::WindowSpec> {
        let frame = |(units, start, end)| -> Result<WindowFrame> {
            Ok(WindowFrame { units, start_bound: bound(start)?, end_bound: Some(bound(end)?) })
        };
        Ok(ast::WindowSpec {
            window_name: None,
            partition_by: self.partition.iter().map(Column::tree).collect::<Result<_>>()?,
            order_by: self.order.iter().map(Column::sort_key).collect::<Result<_>>()?,
            window_frame: self.frame.map(frame).transpose()?,
        })
    }
}

fn bound(distance: i64) -> Result<WindowFrameBound> {
    let amount = || {
        let short = i32::try_from(distance.unsigned_abs()).ok();
        let column = short.map_or_else(|| (distance.unsigned_abs() as i64).into_operand(), IntoOperand::into_operand);
        column.tree().map(Box::new)
    };
    Ok(match distance {
        Window::UNBOUNDED_PRECEDING => WindowFrameBound::Preceding(None),
        Window::UNBOUNDED_FOLLOWING => WindowFrameBound::Following(None),
        0 => WindowFrameBound::CurrentRow,
        before if before < 0 => WindowFrameBound::Preceding(Some(amount()?)),
        _ => WindowFrameBound::Following(Some(amount()?)),
    })
}
