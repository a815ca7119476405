//! What answers are made of: each byte follows from the number of its request and its own place, so
//! that one which is lost, moved or invented is seen.

/// The byte of answer `number` at `place`: a small letter, so that it fits into any format.
fn letter(number: u64, place: usize) -> u8 {
    let place = place as u64;
    let mixed = number
        .wrapping_mul(11)
        .wrapping_add(place.wrapping_mul(7))
        .wrapping_add((place >> 5).wrapping_mul(3));
    b'a' + (mixed % 26) as u8
}

/// All of answer `number`, from `place` on.
pub(crate) fn content(number: u64, place: usize, len: usize) -> Vec<u8> {
    (place..place + len)
        .map(|place| letter(number, place))
        .collect()
}

/// Where `data`, which begins at `place`, first differs from answer `number`.
pub(crate) fn difference(number: u64, place: usize, data: &[u8]) -> Option<usize> {
    data.iter()
        .enumerate()
        .position(|(offset, byte)| *byte != letter(number, place + offset))
        .map(|offset| place + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_lost_moved_or_of_another_answer_is_seen() {
        let whole = content(7, 0, 3000);
        assert_eq!(difference(7, 0, &whole), None);
        assert_eq!(difference(7, 100, &whole[100..]), None);
        assert!(difference(8, 0, &whole).is_some());
        for at in [0, 31, 32, 1500] {
            let mut fewer = whole.clone();
            fewer.remove(at);
            assert!(difference(7, 0, &fewer).is_some_and(|found| found >= at));
        }
    }
}
