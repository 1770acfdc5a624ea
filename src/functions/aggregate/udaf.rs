//! One chosen aggregate function as DataFusion's user-defined aggregate.
//!
//! In: an [`AggregateFunction`], resolved for its argument types. What always holds: the result type is the resolved one,
//! whatever DataFusion asks, and the name tells apart functions that differ in DISTINCT, constants or order.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility, expr::schema_name_from_exprs,
};
use thalweg_operators::aggregate::AggregateFunction;

use super::groups::Groups;
use super::single::{Single, Sliding};
use crate::Error;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StreamableUdaf {
    name: String,
    function: AggregateFunction,
    signature: Signature,
}

impl StreamableUdaf {
    pub fn new(function: AggregateFunction) -> Self {
        let name = full_name(&function);
        StreamableUdaf { name, function, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    pub fn function(&self) -> &AggregateFunction {
        &self.function
    }

    fn make(&self) -> Result<Box<dyn thalweg_operators::aggregate::Accumulator>> {
        Ok(self.function.accumulator().map_err(Error::from)?)
    }

    /// The call with all that makes it what it is.
    fn describe(&self, params: &AggregateFunctionParams) -> Result<String> {
        let mut text = format!("{}({})", self.name, schema_name_from_exprs(&params.args)?);
        if let Some(filter) = &params.filter {
            let _ = write!(text, " FILTER (WHERE {filter})");
        }
        Ok(text)
    }
}

/// `percentile[Double(0.5)]`: DataFusion takes functions of one name for the same when it looks for common expressions,
/// so the name holds all that was said besides the arguments.
fn full_name(function: &AggregateFunction) -> String {
    let options = function.options();
    let mut parts: Vec<String> = options.constants.iter().map(|constant| format!("{constant:?}")).collect();
    parts.extend(options.order.iter().map(ToString::to_string));
    parts.extend(options.distinct.then(|| "DISTINCT".to_string()));
    parts.extend(options.ignore_nulls.then(|| "IGNORE NULLS".to_string()));
    match parts.is_empty() {
        true => function.name().to_string(),
        false => format!("{}[{}]", function.name(), parts.join(", ")),
    }
}

impl AggregateUDFImpl for StreamableUdaf {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.describe(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.describe(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.describe(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type().clone())
    }

    /// Functions that give one of their values back keep what its metadata says, such as the fields of an interval.
    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let keeps =
            ["min", "max", "first", "last", "any_value", "max_by", "min_by", "mode"].contains(&self.function.name());
        let field = Field::new(self.name(), self.function.return_type().clone(), true);
        Ok(Arc::new(match args.first().filter(|arg| keeps && arg.data_type() == field.data_type()) {
            Some(arg) => field.with_metadata(arg.metadata().clone()),
            None => field,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types = self.make()?.state_types();
        let field = |(number, t)| Arc::new(Field::new(format!("{}[{number}]", args.name), t, true));
        Ok(types.into_iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(self.make()?)))
    }

    fn create_sliding_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sliding::new(self.function.clone())))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(self.function.clone(), self.make()?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    /// The result over no rows: 0 for counts, an empty array for lists, else null.
    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        let result = self.make()?.evaluate(&[0]).map_err(Error::from)?;
        ScalarValue::try_from_array(&result, 0)
    }
}
