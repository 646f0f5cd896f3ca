package maintenance

// MaxExcept is how many stores one switch can except.
const MaxExcept = maxExcept
