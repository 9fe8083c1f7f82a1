//! Embeddings: vectors that repeat and in which texts with words in common lie close together.

use super::noise;

/// Words after these do not move the vector, so that a huge text costs no more than a long one.
const WORDS_MAX: usize = 128;

/// The sum of one noise vector per word, at length 1.
pub(super) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    for word in text.split_whitespace().take(WORDS_MAX) {
        let mut state = noise::seed(&word.to_lowercase());
        for place in &mut sum {
            state = noise::mix(state);
            let [high, low, ..] = state.to_be_bytes();
            *place += f32::from(i16::from_be_bytes([high, low])) / 32_768.0;
        }
    }
    let length = sum.iter().map(|place| place * place).sum::<f32>().sqrt();
    if length > 0.0 {
        for place in &mut sum {
            *place /= length;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_bring_texts_together() {
        let [tide, gate, other] =
            ["the tide is high", "the tide is low", "purple elephants dance"].map(|text| vector(text, 256));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!((dot(&tide, &tide) - 1.0).abs() < 1e-3);
        assert!(dot(&tide, &gate) > dot(&tide, &other) + 0.4);
    }
}
