//! `sentences`: a text as sentences, each a list of its words.
//!
//! In: a text (and a language and country, which change nothing: Unicode's boundaries hold for all). Out:
//! `ARRAY<ARRAY<STRING>>`; blanks and punctuation are left out.

use std::sync::Arc;

use arrow::array::{ListBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use unicode_segmentation::UnicodeSegmentation;

use super::arguments::coerced;
use super::rows::over_rows;
use super::{Call, Function, function};
use crate::{Result, types};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[function(&["sentences"], sentences)];

fn sentences(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=3, &[STRING])?;
    Ok(over_rows("sentences", types::list(types::list(STRING)), |rows| {
        let text = rows.strings(0)?;
        let words = ListBuilder::new(StringBuilder::new()).with_field(types::list_item(STRING));
        let mut out = ListBuilder::new(words).with_field(types::list_item(types::list(STRING)));
        for row in 0..rows.len() {
            let text = text.get(row);
            put_sentences(text.unwrap_or_default(), out.values());
            if text.is_some_and(|text| !text.is_empty() && !text.contains(char::is_alphanumeric)) {
                // A text without words still is a sentence.
                out.values().append(true);
            }
            out.append(text.is_some());
        }
        Ok(Arc::new(out.finish()))
    })
    .call(args))
}

fn put_sentences(text: &str, out: &mut ListBuilder<StringBuilder>) {
    for sentence in text.split_sentence_bounds().filter(|sentence| sentence.contains(char::is_alphanumeric)) {
        let words = sentence.split_word_bounds().filter(|word| word.starts_with(char::is_alphanumeric));
        words.for_each(|word| out.values().append_value(word));
        out.append(true);
    }
}
