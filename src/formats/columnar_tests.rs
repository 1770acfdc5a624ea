//! Checks that every columnar format goes through.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::DataType;

use super::json::{FromJson, ToJson};
use super::{DecodeContext, Format};
use crate::Result;
use crate::conf::Conf;
use crate::options::Options;
use crate::types::parse_ddl;

/// Columns that all columnar formats hold.
pub(crate) const DDL: &str = "b BOOLEAN, y TINYINT, h SMALLINT, i INT, g BIGINT, f FLOAT, w DOUBLE, s STRING, n BINARY, \
                              a DATE, z TIMESTAMP, u TIMESTAMP_NTZ";

const ROWS: [&str; 3] = [
    r#"{"b":true,"y":-1,"h":2,"i":3,"g":4,"f":1.5,"w":2.5,"s":"é","n":"aGk=","a":"2024-02-29","z":"1960-12-31T23:59:59.500Z","u":"2024-02-29T01:02:03.123","d":1.50,"l":[{"x":1},{"x":null}],"m":{"k":[1,null]}}"#,
    "{}",
    r#"{"i":7,"s":"","z":"2024-02-29T01:02:03.000Z","l":[],"m":{}}"#,
];

fn batch(ddl: &str) -> RecordBatch {
    let data_type = DataType::Struct(parse_ddl(ddl).unwrap().fields().clone());
    let reader = FromJson::new(&data_type, &Options::default(), &Conf::default()).unwrap();
    RecordBatch::from(reader.convert(&StringArray::from(ROWS.to_vec())).unwrap().as_struct())
}

fn write(format: &dyn Format, path: &Path, codec: &str, rows: &RecordBatch) {
    let mut options = Options::default();
    options.set("compression", codec);
    let mut writer = format.file_writer(File::create(path).unwrap(), rows.schema(), &options).unwrap();
    writer.write(rows).unwrap();
    writer.write(&rows.slice(0, 1)).unwrap();
    writer.finish().unwrap();
}

fn read(format: &dyn Format, path: &Path, ddl: &str, projection: &[usize]) -> Result<Vec<RecordBatch>> {
    let schema = parse_ddl(ddl)?;
    let context = DecodeContext {
        schema,
        projection: projection.into(),
        options: Options::default(),
        conf: Conf::default(),
        filters: Vec::new(),
    };
    format.open_file(path, context, 0..u64::MAX)?.map(|part| Ok(part?.rows)).collect()
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let rows = arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap();
    let structs: ArrayRef = Arc::new(StructArray::from(rows));
    let texts = ToJson::new(structs.data_type(), &Options::default(), &Conf::default()).unwrap().convert(&structs);
    texts.unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
}

/// Writes two batches and reads them back: all columns, some columns in another order and case, none at all.
pub(crate) fn check_round_trip(format: &dyn Format, ddl: &str, codec: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("file");
    let rows = batch(ddl);
    write(format, &path, codec, &rows);
    let all: Vec<usize> = (0..rows.num_columns()).collect();
    let back = read(format, &path, ddl, &all).unwrap();
    let expected = shown(&[rows.clone(), rows.slice(0, 1)]);
    assert_eq!(shown(&back), expected);
    assert_eq!(read(format, &path, ddl, &[]).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let missing = read(format, &path, "nowhere INT", &[0]).unwrap();
    assert_eq!(missing.iter().map(|batch| batch.column(0).null_count()).sum::<usize>(), 4);
    let schema = format.infer_schema(&[path], &Options::default(), &Conf::default()).unwrap();
    assert_eq!(schema, rows.schema());
}

/// Truncated, foreign and empty files are errors that name the file; flipped bytes never panic.
pub(crate) fn check_damaged(format: &dyn Format) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(format, &path, "none", &batch(DDL));
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"PAR1 not at all PAR1", b"ORC", b""] {
        std::fs::write(&path, damaged).unwrap();
        let error = read(format, &path, DDL, &[0]).unwrap_err();
        assert_eq!(error.place(), Some(path.display().to_string().as_str()));
    }
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        std::fs::write(&path, flipped).unwrap();
        let _ = read(format, &path, DDL, &[0, 3, 7, 10]);
    }
}
