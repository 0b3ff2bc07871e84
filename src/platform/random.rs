//! Randomness that nobody can guess, from the operating system.

/// 256 random bits in hex digits.
///
/// # Errors
/// The operating system has none to give.
pub fn hex() -> std::io::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_long_and_never_the_same() {
        let (one, other) = (super::hex().unwrap(), super::hex().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
