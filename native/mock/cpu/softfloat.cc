#include "softfloat.h"

namespace nvmm::cpu {
namespace {

using uint128_t = unsigned __int128;

constexpr int kWrap80 = 24576;  // what the x87 adds to or takes from an exponent out of range when that is not masked

constexpr uint128_t wide(uint64_t high, uint64_t low) { return static_cast<uint128_t>(high) << 64 | low; }
constexpr uint128_t wide(const Number& n) { return wide(n.significand, n.rest); }

int leadingZeros(uint128_t v) {  // v != 0
  auto high = static_cast<uint64_t>(v >> 64);
  return high ? __builtin_clzll(high) : 64 + __builtin_clzll(static_cast<uint64_t>(v));
}

// What is shifted out stays as a sticky bit.
uint128_t shiftRightJam(uint128_t v, unsigned count) {
  if (count == 0) return v;
  if (count >= 128) return v != 0;
  return v >> count | ((v << (128 - count)) != 0);
}

// 2^exponent * v / 2^127
Number finite(bool negative, int exponent, uint128_t v) {
  if (v == 0) return zero(negative);
  int shift = leadingZeros(v);
  v <<= shift;
  return {Number::Finite, negative, false, exponent - shift, static_cast<uint64_t>(v >> 64), static_cast<uint64_t>(v)};
}

Number quiet(Number n) {
  n.kind = Number::QuietNan;
  n.significand |= 0xc000000000000000;
  return n;
}

void noticeDenormals(FloatContext& context, const Number& a, const Number& b) {
  if (a.denormal || b.denormal) context.flags |= fpe::DE;
}

// ---- Unpacking ------------------------------------------------------------------------------------------------------

template <typename Bits>
Number unpackInterchange(const FloatContext& context, Bits bits) {
  constexpr unsigned kFraction = Format<Bits>::kPrecision - 1, kExponentBits = Format<Bits>::kExponentBits;
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  constexpr unsigned kMax = (1u << kExponentBits) - 1;
  bool negative = bits >> (kFraction + kExponentBits);
  auto biased = static_cast<unsigned>(bits >> kFraction & kMax);
  uint64_t fraction = static_cast<uint64_t>(bits) << (64 - kFraction);
  if (biased == kMax) {
    if (!fraction) return infinity(negative);
    return {fraction >> 63 ? Number::QuietNan : Number::SignalingNan,
            negative,
            false,
            0,
            fraction >> 1 | uint64_t{1} << 63,
            0};
  }
  if (biased == 0) {
    if (!fraction || context.denormalsAreZero) return zero(negative);
    Number n = finite(negative, -kBias, wide(fraction, 0));
    n.denormal = true;
    return n;
  }
  return {Number::Finite, negative, false, static_cast<int>(biased) - kBias, fraction >> 1 | uint64_t{1} << 63, 0};
}

// ---- Rounding -------------------------------------------------------------------------------------------------------

struct Cut {
  uint64_t significand;
  bool carry;  // it became 2^64, of which the lower bits are shown
  bool inexact, up;
};

Cut cut(uint128_t v, unsigned keep, bool negative, Rounding rounding) {
  const uint128_t unit = static_cast<uint128_t>(1) << (128 - keep), remainder = v & (unit - 1), half = unit >> 1;
  Cut result{};
  result.inexact = remainder != 0;
  switch (rounding) {
    case Rounding::Nearest: result.up = remainder > half || (remainder == half && v & unit); break;
    case Rounding::Down: result.up = negative && result.inexact; break;
    case Rounding::Up: result.up = !negative && result.inexact; break;
    case Rounding::Zero: break;
  }
  v -= remainder;
  if (result.up) {
    v += unit;
    result.carry = v == 0;
  }
  result.significand = static_cast<uint64_t>(v >> 64);
  return result;
}

struct Rounded {
  unsigned biased;  // exponent: 0 for zero and denormals
  uint64_t significand;
};

Rounded roundFinite(FloatContext& context, const Number& n, unsigned precision, unsigned exponentBits) {
  const int bias = (1 << (exponentBits - 1)) - 1, smallest = 1 - bias;
  const unsigned overflowed = (1u << exponentBits) - 1;
  const uint64_t one = uint64_t{1} << 63;
  Cut rounded = cut(wide(n), precision, n.negative, context.rounding);
  int exponent = n.exponent + rounded.carry;
  if (rounded.carry) rounded.significand = one;

  if (exponent < smallest && context.masks & fpe::UE) {  // tiny after rounding
    if (context.flushToZero) {
      context.flags |= fpe::UE | fpe::PE;
      return {0, 0};
    }
    rounded = cut(shiftRightJam(wide(n), static_cast<unsigned>(smallest - n.exponent)), precision, n.negative,
                  context.rounding);
    if (rounded.inexact) context.flags |= fpe::UE | fpe::PE;
    context.roundedUp = rounded.up;
    return {rounded.significand >> 63 ? 1u : 0u, rounded.significand};
  }
  if (rounded.inexact) context.flags |= fpe::PE;
  context.roundedUp = rounded.up;
  if (exponent < smallest) {
    context.flags |= fpe::UE;
    exponent += kWrap80;
    if (exponent < smallest) {
      context.flags |= fpe::PE;
      context.roundedUp = false;
      return {0, 0};
    }
  } else if (exponent > bias) {
    context.flags |= fpe::OE;
    if (context.masks & fpe::OE) {
      context.flags |= fpe::PE;
      context.roundedUp =
          context.rounding == Rounding::Nearest || context.rounding == (n.negative ? Rounding::Down : Rounding::Up);
      if (context.roundedUp) return {overflowed, one};
      return {overflowed - 1, ~uint64_t{0} << (64 - precision)};
    }
    exponent -= kWrap80;
    if (exponent > bias) {  // FSCALE
      context.flags |= fpe::PE;
      context.roundedUp = true;
      return {overflowed, one};
    }
  }
  return {static_cast<unsigned>(exponent + bias), rounded.significand};
}

Rounded round(FloatContext& context, const Number& n, unsigned precision, unsigned exponentBits) {
  context.roundedUp = false;
  switch (n.kind) {
    case Number::Zero: return {0, 0};
    case Number::Finite: return roundFinite(context, n, precision, exponentBits);
    case Number::Infinity: return {(1u << exponentBits) - 1, uint64_t{1} << 63};
    default: return {(1u << exponentBits) - 1, n.significand};
  }
}

void assemble(uint32_t& bits, bool negative, Rounded r) {
  bits = static_cast<uint32_t>(negative) << 31 | r.biased << 23 | static_cast<uint32_t>(r.significand << 1 >> 41);
}
void assemble(uint64_t& bits, bool negative, Rounded r) {
  bits = static_cast<uint64_t>(negative) << 63 | static_cast<uint64_t>(r.biased) << 52 | r.significand << 1 >> 12;
}
void assemble(Float80& bits, bool negative, Rounded r) {
  bits = {r.significand, static_cast<uint16_t>(negative << 15 | r.biased)};
}

// The magnitudes, the larger one first.
Number addMagnitudes(bool negative, const Number& a, const Number& b) {
  uint128_t small = shiftRightJam(wide(b), static_cast<unsigned>(a.exponent - b.exponent) + 1);
  return finite(negative, a.exponent + 1, shiftRightJam(wide(a), 1) + small);
}
Number subtractMagnitudes(bool negative, const Number& a, const Number& b) {
  return finite(negative, a.exponent, wide(a) - shiftRightJam(wide(b), static_cast<unsigned>(a.exponent - b.exponent)));
}

bool magnitudeLess(const Number& a, const Number& b) {
  return a.exponent != b.exponent ? a.exponent < b.exponent : wide(a) < wide(b);
}

Number addSigned(FloatContext& context, const Number& a, const Number& b, bool bNegative) {
  if (a.kind == Number::Infinity && b.kind == Number::Infinity && a.negative != bNegative) return invalid(context);
  noticeDenormals(context, a, b);
  if (a.kind == Number::Infinity) return a;
  if (b.kind == Number::Infinity) return infinity(bNegative);
  if (a.kind == Number::Zero && b.kind == Number::Zero) {
    return zero(a.negative == bNegative ? a.negative : context.rounding == Rounding::Down);
  }
  if (b.kind == Number::Zero) return a;
  if (a.kind == Number::Zero) return finite(bNegative, b.exponent, wide(b));
  bool swap = magnitudeLess(a, b);
  const Number &large = swap ? b : a, &small = swap ? a : b;
  bool negative = swap ? bNegative : a.negative;
  if (a.negative == bNegative) return addMagnitudes(negative, large, small);
  Number difference = subtractMagnitudes(negative, large, small);
  if (difference.kind == Number::Zero) difference.negative = context.rounding == Rounding::Down;
  return difference;
}

}  // namespace

Number unpack(const FloatContext& context, uint32_t bits) { return unpackInterchange(context, bits); }
Number unpack(const FloatContext& context, uint64_t bits) { return unpackInterchange(context, bits); }

Number unpack(const FloatContext&, Float80 bits) {
  constexpr unsigned kMax = 0x7fff;
  constexpr int kBias = 0x3fff;
  const bool negative = bits.signExponent >> 15, integerBit = bits.significand >> 63;
  const unsigned biased = bits.signExponent & kMax;
  if (biased == 0) {  // with the integer bit: a pseudo-denormal
    if (!bits.significand) return zero(negative);
    Number n = finite(negative, 1 - kBias, wide(bits.significand, 0));
    n.denormal = true;
    return n;
  }
  if (!integerBit) return {Number::Unsupported, negative, false, 0, bits.significand, 0};
  if (biased == kMax) {
    if (bits.significand << 1 == 0) return infinity(negative);
    bool isQuiet = bits.significand >> 62 & 1;
    return {isQuiet ? Number::QuietNan : Number::SignalingNan, negative, false, 0, bits.significand, 0};
  }
  return {Number::Finite, negative, false, static_cast<int>(biased) - kBias, bits.significand, 0};
}

template <typename Bits>
Bits pack(FloatContext& context, const Number& number, unsigned precision) {
  Bits bits;
  assemble(bits, number.negative, round(context, number, precision, Format<Bits>::kExponentBits));
  return bits;
}
template uint32_t pack(FloatContext&, const Number&, unsigned);
template uint64_t pack(FloatContext&, const Number&, unsigned);
template Float80 pack(FloatContext&, const Number&, unsigned);

Number invalid(FloatContext& context) {
  context.flags |= fpe::IE;
  return kDefaultNan;
}

Number propagateNan(FloatContext& context, const Number& a, const Number& b) {
  if (a.kind == Number::Unsupported || b.kind == Number::Unsupported) return invalid(context);
  if (a.kind == Number::SignalingNan || b.kind == Number::SignalingNan) context.flags |= fpe::IE;
  if (!a.nan()) return quiet(b);
  if (!b.nan() || !context.x87) return quiet(a);
  if (a.kind != b.kind) return quiet(a.kind == Number::QuietNan ? a : b);
  if (a.significand != b.significand) return quiet(a.significand > b.significand ? a : b);
  return quiet(a.negative ? b : a);
}

Number convert(FloatContext& context, const Number& a) {
  if (a.nan()) return propagateNan(context, a, a);
  if (a.denormal) context.flags |= fpe::DE;
  return a;
}

Number add(FloatContext& context, const Number& a, const Number& b) {
  return a.nan() || b.nan() ? propagateNan(context, a, b) : addSigned(context, a, b, b.negative);
}

Number subtract(FloatContext& context, const Number& a, const Number& b) {
  return a.nan() || b.nan() ? propagateNan(context, a, b) : addSigned(context, a, b, !b.negative);
}

Number multiply(FloatContext& context, const Number& a, const Number& b) {
  if (a.nan() || b.nan()) return propagateNan(context, a, b);
  const bool negative = a.negative != b.negative;
  const bool infinite = a.kind == Number::Infinity || b.kind == Number::Infinity;
  const bool null = a.kind == Number::Zero || b.kind == Number::Zero;
  if (infinite && null) return invalid(context);
  noticeDenormals(context, a, b);
  if (infinite) return infinity(negative);
  if (null) return zero(negative);
  return finite(negative, a.exponent + b.exponent + 1, static_cast<uint128_t>(a.significand) * b.significand);
}

Number divide(FloatContext& context, const Number& a, const Number& b) {
  if (a.nan() || b.nan()) return propagateNan(context, a, b);
  const bool negative = a.negative != b.negative;
  if (a.kind == b.kind && a.kind != Number::Finite) return invalid(context);  // 0 / 0 or infinity / infinity
  if (b.kind == Number::Zero && a.kind == Number::Finite) {
    context.flags |= fpe::ZE;
    return infinity(negative);
  }
  noticeDenormals(context, a, b);
  if (a.kind == Number::Infinity || b.kind == Number::Zero) return infinity(negative);
  if (a.kind == Number::Zero || b.kind == Number::Infinity) return zero(negative);
  const uint128_t dividend = wide(a.significand, 0) >> 1;  // so that the quotient fits 64 bits
  const uint128_t quotient = dividend / b.significand, remainder = dividend % b.significand;
  const uint128_t more = (remainder << 64) / b.significand;
  return finite(negative, a.exponent - b.exponent, quotient << 64 | more | ((remainder << 64) % b.significand != 0));
}

Number squareRoot(FloatContext& context, const Number& a) {
  if (a.nan()) return propagateNan(context, a, a);
  if (a.kind == Number::Zero) return a;
  if (a.negative) return invalid(context);
  if (a.denormal) context.flags |= fpe::DE;
  if (a.kind == Number::Infinity) return a;
  // Bit by bit: the root of a number of 128 bits has 64.
  uint128_t rest = wide(a.significand, 0) >> (a.exponent & 1 ? 0 : 1);
  uint64_t root = 0;  // its square is already taken from the rest
  for (int bit = 63; bit >= 0; --bit) {
    const uint128_t square = (static_cast<uint128_t>(root) << 1 | uint64_t{1} << bit) << bit;
    if (rest >= square) {
      rest -= square;
      root |= uint64_t{1} << bit;
    }
  }
  return finite(false, a.exponent >> 1, wide(root, rest == 0 ? 0 : rest > root ? uint64_t{3} << 62 : 1));
}

Order compare(FloatContext& context, const Number& a, const Number& b, bool quiet) {
  if (a.nan() || b.nan()) {
    if (!quiet || a.kind >= Number::SignalingNan || b.kind >= Number::SignalingNan) context.flags |= fpe::IE;
    return Order::Unordered;
  }
  noticeDenormals(context, a, b);
  if (a.kind == Number::Zero && b.kind == Number::Zero) return Order::Equal;
  auto sign = [](const Number& n) { return n.kind == Number::Zero ? 0 : n.negative ? -1 : 1; };
  if (sign(a) != sign(b)) return sign(a) < sign(b) ? Order::Less : Order::Greater;
  if (a.kind == b.kind && a.kind != Number::Finite) return Order::Equal;
  bool smaller = a.kind != b.kind ? b.kind == Number::Infinity : magnitudeLess(a, b);
  if (!smaller && a.kind == b.kind && !magnitudeLess(b, a)) return Order::Equal;
  return smaller != a.negative ? Order::Less : Order::Greater;
}

Number roundToInteger(FloatContext& context, const Number& a) {
  context.roundedUp = false;
  if (a.nan()) return propagateNan(context, a, a);
  if (a.denormal) context.flags |= fpe::DE;
  if (a.kind != Number::Finite || a.exponent >= 63) return a;
  // With the point behind bit 64.
  Cut rounded = cut(shiftRightJam(wide(a), static_cast<unsigned>(63 - a.exponent)), 64, a.negative, context.rounding);
  if (rounded.inexact) context.flags |= fpe::PE;
  context.roundedUp = rounded.up;
  return fromMagnitude(a.negative, rounded.significand);
}

int64_t toInteger(FloatContext& context, const Number& a, unsigned bits) {
  const uint64_t limit = uint64_t{1} << (bits - 1);  // the magnitude of the most negative one
  const auto indefinite = static_cast<int64_t>(~limit + 1);
  auto refuse = [&] {
    context.flags |= fpe::IE;
    context.roundedUp = false;
    return indefinite;
  };
  if (a.nan() || a.kind == Number::Infinity || (a.kind == Number::Finite && a.exponent >= 64)) return refuse();
  if (a.kind == Number::Zero) {
    context.roundedUp = false;
    return 0;
  }
  const uint8_t before = context.flags;
  // Denormals are not an exception here.
  Number plain = a;
  plain.denormal = false;
  Number n = roundToInteger(context, plain);
  uint64_t magnitude = n.kind == Number::Zero ? 0 : n.significand >> (63 - n.exponent);
  if (magnitude > limit - !a.negative) {
    context.flags = before;
    return refuse();
  }
  return static_cast<int64_t>(a.negative ? ~magnitude + 1 : magnitude);
}

Number fromMagnitude(bool negative, uint64_t magnitude) { return finite(negative, 127, magnitude); }

Number fromInteger(int64_t value) {
  return fromMagnitude(value < 0, value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value));
}

}  // namespace nvmm::cpu
