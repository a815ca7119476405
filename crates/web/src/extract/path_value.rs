//! Reads the parameters of a route into a type that serde knows.

use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// All parameters, as one value.
pub(super) struct PathReader<'a>(pub(super) &'a [(Arc<str>, String)]);

/// One parameter.
#[derive(Clone, Copy)]
struct Param<'a> {
    name: &'a str,
    value: &'a str,
}

/// Why parameters do not fit.
#[derive(Debug)]
pub(super) enum PathError {
    /// The type does not fit the route: the program is wrong.
    Shape(String),
    /// The request is wrong, in the parameter that is named.
    Value(String),
    /// A type does not take what was read for it.
    Custom(String),
}

impl<'a> PathReader<'a> {
    fn params(&self) -> impl ExactSizeIterator<Item = Param<'a>> + use<'a> {
        self.0.iter().map(|(name, value)| Param { name, value })
    }

    fn only(&self) -> Result<Param<'a>, PathError> {
        match self.0 {
            [(name, value)] => Ok(Param { name, value }),
            all => {
                let wrong = format!(
                    "it is one value, and the route has {} parameters",
                    all.len()
                );
                Err(PathError::Shape(wrong))
            }
        }
    }

    fn exactly(&self, len: usize) -> Result<(), PathError> {
        let params = self.0.len();
        if len == params {
            return Ok(());
        }
        let wrong = format!("it has {len} values, and the route has {params} parameters");
        Err(PathError::Shape(wrong))
    }
}

macro_rules! to_the_only {
    ($($method:ident($($extra:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($extra: $type,)* visitor: V) -> Result<V::Value, PathError> {
            self.only()?.$method($($extra,)* visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for PathReader<'de> {
    type Error = PathError;

    to_the_only! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_identifier();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_seq(SeqDeserializer::new(self.params()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.exactly(len)?;
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_map(MapDeserializer::new(
            self.params().map(|param| (param.name, param)),
        ))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }
}

impl Param<'_> {
    fn wrong(&self, error: impl fmt::Display) -> PathError {
        let Self { name, value } = self;
        PathError::Value(format!("the path's `{name}` is {value:?}: {error}"))
    }

    fn name(&self, error: PathError) -> PathError {
        match error {
            PathError::Custom(wrong) => self.wrong(wrong),
            named => named,
        }
    }
}

impl<'de> IntoDeserializer<'de, PathError> for Param<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident: $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
            visitor.$visit(self.value.parse().map_err(|error| self.wrong(error))?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Param<'de> {
    type Error = PathError;

    parsed! {
        deserialize_bool: visit_bool;
        deserialize_i8: visit_i8;
        deserialize_i16: visit_i16;
        deserialize_i32: visit_i32;
        deserialize_i64: visit_i64;
        deserialize_i128: visit_i128;
        deserialize_u8: visit_u8;
        deserialize_u16: visit_u16;
        deserialize_u32: visit_u32;
        deserialize_u64: visit_u64;
        deserialize_u128: visit_u128;
        deserialize_f32: visit_f32;
        deserialize_f64: visit_f64;
        deserialize_char: visit_char;
    }

    /// What a type makes of text is told with the parameter's name.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor
            .visit_borrowed_str(self.value)
            .map_err(|error| self.name(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        let variant: de::value::StrDeserializer<'_, PathError> = self.value.into_deserializer();
        visitor
            .visit_enum(variant)
            .map_err(|error| self.name(error))
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

impl de::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Shape(format!("the route has no parameter `{field}`"))
    }

    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Self {
        Self::Shape(format!(
            "the route has {len} parameters, which are not {expected}"
        ))
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(message) | Self::Value(message) => f.write_str(message),
            Self::Custom(message) => write!(f, "the path: {message}"),
        }
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    fn read<T: DeserializeOwned>(params: &[(&str, &str)]) -> Result<T, PathError> {
        let params: Vec<_> = params
            .iter()
            .map(|(name, value)| (Arc::from(*name), (*value).to_owned()))
            .collect();
        T::deserialize(PathReader(&params))
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Tea {
        Black,
        Green,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Cup {
        tea: Tea,
        number: u8,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(u64);

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(try_from = "u8")]
    struct Even(u8);

    impl TryFrom<u8> for Even {
        type Error = &'static str;

        fn try_from(number: u8) -> Result<Self, &'static str> {
            number
                .is_multiple_of(2)
                .then_some(Self(number))
                .ok_or("it is odd")
        }
    }

    #[test]
    fn parameters_fill_values_tuples_structs_and_maps() {
        assert_eq!(read::<u8>(&[("id", "7")]).unwrap(), 7);
        assert_eq!(read::<Id>(&[("id", "7")]).unwrap(), Id(7));
        assert_eq!(read::<String>(&[("id", "7")]).unwrap(), "7");
        assert_eq!(read::<(u8,)>(&[("id", "7")]).unwrap(), (7,));
        assert_eq!(read::<Tea>(&[("tea", "green")]).unwrap(), Tea::Green);
        let both = [("tea", "black"), ("number", "2")];
        let cup = Cup {
            tea: Tea::Black,
            number: 2,
        };
        assert_eq!(read::<Cup>(&both).unwrap(), cup);
        assert_eq!(read::<(Tea, u8)>(&both).unwrap(), (Tea::Black, 2));
        assert_eq!(read::<Vec<String>>(&both).unwrap(), ["black", "2"]);
        let map: BTreeMap<String, String> = read(&both).unwrap();
        assert_eq!(map["number"], "2");
        read::<()>(&[]).unwrap();
    }

    #[test]
    fn a_wrong_value_is_the_clients_and_a_wrong_shape_is_ours() {
        for error in [
            read::<u8>(&[("id", "300")]).unwrap_err(),
            read::<(u8,)>(&[("id", "x")]).unwrap_err(),
            read::<Tea>(&[("id", "white")]).unwrap_err(),
            read::<Cup>(&[("tea", "black"), ("id", "1"), ("number", "x")]).unwrap_err(),
        ] {
            assert!(matches!(error, PathError::Value(_)), "{error}");
        }
        for error in [
            read::<u8>(&[]).unwrap_err(),
            read::<u8>(&[("a", "1"), ("b", "2")]).unwrap_err(),
            read::<(u8, u8)>(&[("a", "1")]).unwrap_err(),
            read::<Cup>(&[("tea", "black")]).unwrap_err(),
        ] {
            assert!(matches!(error, PathError::Shape(_)), "{error}");
        }
        let error = read::<Even>(&[("id", "3")]).unwrap_err();
        assert!(matches!(error, PathError::Custom(_)), "{error:?}");
        assert_eq!(error.to_string(), "the path: it is odd");
        let error = read::<u8>(&[("id", "abc")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the path's `id` is \"abc\": invalid digit found in string"
        );
    }
}
