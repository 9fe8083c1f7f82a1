//! A body that comes in pieces: joined only when there is more than one, since most come in one.

use bytes::{Bytes, BytesMut};

/// Pieces of a body, in their order.
#[derive(Debug, Default)]
pub struct Gathered {
    first: Bytes,
    rest: Option<BytesMut>,
}

impl Gathered {
    /// How many bytes have come.
    pub fn len(&self) -> usize {
        self.rest.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: Bytes) {
        match &mut self.rest {
            Some(rest) => rest.extend_from_slice(&bytes),
            None if self.first.is_empty() => self.first = bytes,
            None => {
                let mut rest = BytesMut::with_capacity((self.first.len() + bytes.len()) * 2);
                rest.extend_from_slice(&self.first);
                rest.extend_from_slice(&bytes);
                self.rest = Some(rest);
            }
        }
    }

    /// All of it. A body that came in one piece is that piece.
    pub fn join(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_stays_the_piece_it_was() {
        let piece = Bytes::from(vec![7; 100]);
        let mut gathered = Gathered::default();
        gathered.push(Bytes::new());
        gathered.push(piece.clone());
        assert_eq!(gathered.join().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn many_are_joined_in_their_order() {
        let mut gathered = Gathered::default();
        assert!(gathered.is_empty());
        for piece in ["a", "", "bc", "d"] {
            gathered.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(gathered.len(), 4);
        assert_eq!(gathered.join(), "abcd");
    }
}
