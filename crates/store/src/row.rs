//! Reading columns as domain values.

use std::str::FromStr;

use model::{ByteSize, Resources, Timestamp};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::{Error, KeyMask};

/// One row that a statement returned, with the statement's purpose for errors.
pub(crate) struct Columns<'a>(pub(crate) &'a AnyRow);

fn corrupt(column: &'static str, text: &str) -> Error {
    Error::Corrupt { column, text: text.chars().take(64).collect() }
}

impl Columns<'_> {
    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.0.try_get(column).map_err(Error::query(column))
    }

    pub(crate) fn maybe_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.0.try_get(column).map_err(Error::query(column))
    }

    pub(crate) fn integer(&self, column: &'static str) -> Result<i64, Error> {
        self.0.try_get(column).map_err(Error::query(column))
    }

    pub(crate) fn maybe_integer(&self, column: &'static str) -> Result<Option<i64>, Error> {
        self.0.try_get(column).map_err(Error::query(column))
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool, Error> {
        Ok(self.integer(column)? != 0)
    }

    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|_| corrupt(column, &text))
    }

    pub(crate) fn maybe_parsed<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let parse = |text: String| text.parse().map_err(|_| corrupt(column, &text));
        self.maybe_text(column)?.map(parse).transpose()
    }

    pub(crate) fn unsigned<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        let value = self.integer(column)?;
        T::try_from(value).map_err(|_| corrupt(column, &value.to_string()))
    }

    pub(crate) fn size(&self, column: &'static str) -> Result<ByteSize, Error> {
        self.unsigned(column).map(ByteSize::bytes)
    }

    pub(crate) fn moment(&self, column: &'static str) -> Result<Timestamp, Error> {
        self.integer(column).map(Timestamp::from_unix_micros)
    }

    pub(crate) fn maybe_moment(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        Ok(self.maybe_integer(column)?.map(Timestamp::from_unix_micros))
    }

    pub(crate) fn mask(&self) -> Result<KeyMask, Error> {
        Ok(KeyMask {
            prefix: self.text("mask_prefix")?,
            suffix: self.text("mask_suffix")?,
            value_length: self.unsigned("value_length")?,
        })
    }

    pub(crate) fn resources(&self) -> Result<Resources, Error> {
        Ok(Resources {
            cpu_count: self.unsigned("cpu_count")?,
            memory: self.size("memory_bytes")?,
            disk: self.size("disk_bytes")?,
        })
    }
}

/// A size as a column; beyond 8 EiB it saturates.
pub(crate) fn column(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
