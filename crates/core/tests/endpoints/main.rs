//! Kinds of endpoints that stand on others: as text, and as a reactor finds what is at the bottom.

mod kinds;
