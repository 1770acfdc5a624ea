//! What most programs need: `use thalweg::prelude::*;`.
//!
//! ```
//! use thalweg::prelude::*;
//!
//! # fn main() -> thalweg::Result<()> {
//! let session = Session::builder().app_name("demo").create();
//! let numbers = session.range(0, 10, 1)?;
//! let sums = numbers
//!     .with_column("even", (col("id") % 2).eq_to(0))?
//!     .group_by(["even"])
//!     .agg([sum("id").alias("total")])?
//!     .order_by([col("even").desc()])?;
//! assert_eq!(sums.collect_rows()?.len(), 2);
//! # Ok(())
//! # }
//! ```

pub use crate::frame::functions::*;
pub use crate::frame::{
    Column, DataFrame, GroupedData, IntoOperand, Row, Window, WindowSpec, call_function, col, expr, lit, when,
};
pub use crate::query::{StreamingQuery, Trigger};
pub use crate::session::Session;
pub use crate::sinks::OutputMode;
pub use crate::{Error, Result};
