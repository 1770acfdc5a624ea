//! Between time zones: `from_utc_timestamp`, `to_utc_timestamp`, `convert_timezone`, `current_timezone`.

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit};

use super::{Micros, collect, constant_text, overflow, primitive, strings};
use crate::functions::arguments::fixed;
use crate::functions::kernel::Kernel;
use crate::functions::{Call, Function, function};
use crate::types::zone::Zone;
use crate::{Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["from_utc_timestamp"], |call| {
        shifted(call, "from_utc_timestamp", |micros, zone| Some(zone.to_local(micros)))
    }),
    function(&["to_utc_timestamp"], |call| shifted(call, "to_utc_timestamp", |micros, zone| zone.to_instant(micros))),
    function(&["convert_timezone"], convert),
    function(&["current_timezone"], |mut call| {
        call.values(0..=0)?;
        Ok(lit(call.conf.time_zone()))
    }),
];

/// Parses zones of rows, remembering the last one.
#[derive(Default)]
pub(super) struct Zones {
    last: Option<(String, Zone)>,
}

impl Zones {
    pub(super) fn of(&mut self, name: &str) -> Result<&Zone> {
        if self.last.as_ref().is_none_or(|(known, _)| known != name) {
            self.last = None;
        }
        match &mut self.last {
            Some((_, zone)) => Ok(zone),
            last => Ok(&last.insert((name.to_owned(), Zone::parse(name)?)).1),
        }
    }
}

fn check_constant(zone: &Expr) -> Result<()> {
    if let Some(Some(name)) = constant_text(zone) {
        Zone::parse(name)?;
    }
    Ok(())
}

fn shifted(mut call: Call<'_>, name: &'static str, shift: fn(i64, &Zone) -> Option<i64>) -> Result<Expr> {
    let [source, zone] = fixed(call.values(2..=2)?)?;
    let source = call.implicit(source, &types::timestamp())?;
    let zone = call.implicit(zone, &DataType::Utf8)?;
    check_constant(&zone)?;
    let kernel = Kernel::arrays(name, types::timestamp(), move |args| {
        let (instants, names) = (primitive::<Micros>(args, 0)?, strings(args, 1)?);
        let mut zones = Zones::default();
        let values = instants.iter().zip(names).map(|pair| match pair {
            (Some(micros), Some(zone)) => shift(micros, zones.of(zone)?).map(Some).ok_or_else(|| overflow(name)),
            _ => Ok(None),
        });
        collect::<Micros>(&types::timestamp(), instants.len(), values)
    });
    Ok(kernel.call(vec![source, zone]))
}

fn convert(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=3)?;
    if args.len() == 2 {
        args.insert(0, lit(call.conf.time_zone()));
    }
    let [from, to, source] = fixed(args)?;
    let (from, to) = (call.implicit(from, &DataType::Utf8)?, call.implicit(to, &DataType::Utf8)?);
    let source = call.implicit(source, &types::timestamp_ntz())?;
    check_constant(&from)?;
    check_constant(&to)?;
    let kernel = Kernel::arrays("convert_timezone", types::timestamp_ntz(), |args| {
        converted(strings(args, 0)?, strings(args, 1)?, primitive::<Micros>(args, 2)?)
    });
    Ok(kernel.call(vec![from, to, source]))
}

fn converted(
    from: &StringArray,
    to: &StringArray,
    locals: &arrow::array::PrimitiveArray<Micros>,
) -> Result<arrow::array::ArrayRef> {
    let (mut from_zones, mut to_zones) = (Zones::default(), Zones::default());
    let values = from.iter().zip(to).zip(locals).map(|row| match row {
        ((Some(from), Some(to)), Some(local)) => {
            let instant = from_zones.of(from)?.to_instant(local).ok_or_else(|| overflow("convert_timezone"))?;
            Ok(Some(to_zones.of(to)?.to_local(instant)))
        }
        _ => Ok(None),
    });
    collect::<Micros>(&types::timestamp_ntz(), locals.len(), values)
}
