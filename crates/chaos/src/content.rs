//! What answers are made of: each byte follows from the number of its request and its own place, so
//! that one which is lost, moved or invented is seen.

/// After so many bytes they come again: 26 letters in 26 orders, each for 32 bytes.
const PERIOD: usize = 26 * 32;

/// The letters of an answer, once and the same again, so that a period can begin anywhere in it.
type Letters = [u8; 2 * PERIOD];

/// Those of all answers, which differ by where their alphabet begins.
static LETTERS: [Letters; 26] = letters();

const fn letters() -> [Letters; 26] {
    let mut all = [[0; 2 * PERIOD]; 26];
    let mut first = 0;
    while first < 26 {
        let mut place = 0;
        while place < 2 * PERIOD {
            let letter = (first + place * 7 + place / 32 * 3) % 26;
            all[first][place] = b'a' + letter as u8;
            place += 1;
        }
        first += 1;
    }
    all
}

/// The bytes of answer `number` from `place` on, as many as there are in a piece of the table: small
/// letters, so that they fit into any format.
fn piece(number: u64, place: usize) -> &'static [u8] {
    let first = (number % 26 * 11 % 26) as usize;
    &LETTERS[first][place % PERIOD..][..PERIOD]
}

/// All of answer `number`, from `place` on.
pub(crate) fn content(number: u64, place: usize, len: usize) -> Vec<u8> {
    let piece = piece(number, place);
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        all.extend_from_slice(&piece[..PERIOD.min(len - all.len())]);
    }
    all
}

/// Where `data`, which begins at `place`, first differs from answer `number`.
pub(crate) fn difference(number: u64, place: usize, data: &[u8]) -> Option<usize> {
    let piece = piece(number, place);
    let (at, wrong) = data
        .chunks(PERIOD)
        .enumerate()
        .find(|(_, chunk)| **chunk != piece[..chunk.len()])?;
    let offset = wrong
        .iter()
        .zip(piece)
        .position(|(one, other)| one != other)?;
    Some(place + at * PERIOD + offset)
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
