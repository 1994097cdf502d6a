//! Choices that a seed fixes.

/// SplitMix64. Not fit for secrets: what it chooses is what is tried, and when.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The choices of `seed`, for the one who is called so.
    pub fn new(seed: u64, who: u64) -> Self {
        let mut chance = Self(seed ^ who.wrapping_mul(0xd1b5_4a32_d192_ed03));
        chance.next();
        chance
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` on, and below `most`, which is above it.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least).max(1);
        least.saturating_add(self.next().checked_rem(span).unwrap_or(0))
    }

    /// One of `all`, which is not empty.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let place = self.within(0, u64::try_from(all.len()).unwrap_or(1));
        let place = usize::try_from(place).unwrap_or(0);
        *all.get(place).expect("a place within what there is")
    }
}
