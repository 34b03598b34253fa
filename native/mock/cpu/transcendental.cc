#include "transcendental.h"

#include <utility>

namespace nvmm::cpu {
namespace {

using uint128_t = unsigned __int128;

// ---- Numbers with all 128 bits of significand:rest ------------------------------------------------------------------

constexpr uint128_t wide(uint64_t high, uint64_t low) { return static_cast<uint128_t>(high) << 64 | low; }
constexpr uint128_t wide(const Number& n) { return wide(n.significand, n.rest); }
constexpr uint128_t kAllOnes = ~uint128_t{0};

constexpr uint128_t multiplyHigh(uint128_t a, uint128_t b) {
  const auto a1 = static_cast<uint64_t>(a >> 64), a0 = static_cast<uint64_t>(a);
  const auto b1 = static_cast<uint64_t>(b >> 64), b0 = static_cast<uint64_t>(b);
  const uint128_t cross1 = static_cast<uint128_t>(a1) * b0, cross0 = static_cast<uint128_t>(a0) * b1;
  const uint128_t middle =
      (static_cast<uint128_t>(a0) * b0 >> 64) + static_cast<uint64_t>(cross1) + static_cast<uint64_t>(cross0);
  return static_cast<uint128_t>(a1) * b1 + (cross1 >> 64) + (cross0 >> 64) + (middle >> 64);
}

// 2^exponent * v / 2^127, v != 0
Number normal(bool negative, int exponent, uint128_t v) {
  const auto high = static_cast<uint64_t>(v >> 64);
  const int shift = high ? __builtin_clzll(high) : 64 + __builtin_clzll(static_cast<uint64_t>(v));
  v <<= shift;
  return {Number::Finite, negative, false, exponent - shift, static_cast<uint64_t>(v >> 64), static_cast<uint64_t>(v)};
}

Number product(const Number& a, const Number& b) {
  return normal(a.negative != b.negative, a.exponent + b.exponent + 1, multiplyHigh(wide(a), wide(b)));
}
// A fraction: v / 2^128
Number product(const Number& a, uint128_t v) { return normal(a.negative, a.exponent, multiplyHigh(wide(a), v)); }

Number quotient(const Number& a, const Number& b) {
  uint128_t rest = wide(a), digits = 0;
  const uint128_t divisor = wide(b);
  const bool one = rest >= divisor;
  if (one) rest -= divisor;
  for (int i = 0; i < 128; ++i) {
    const bool carry = rest >> 127;
    rest <<= 1;
    digits <<= 1;
    if (carry || rest >= divisor) {
      rest -= divisor;
      digits |= 1;
    }
  }
  if (one) digits = static_cast<uint128_t>(1) << 127 | digits >> 1 | (digits & 1);
  return normal(a.negative != b.negative, a.exponent - b.exponent - !one, digits | (rest != 0));
}

Number sum(const Number& a, const Number& b) {
  FloatContext context;
  return add(context, a, b);
}

Number inexact(Number n) {
  n.rest |= 1;
  return n;
}
Number negate(Number n) {
  n.negative = !n.negative;
  return n;
}
Number magnitude(Number n) {
  n.negative = false;
  return n;
}
Number scaled(Number n, int by) {
  n.exponent += by;
  return n;
}

// |n| < 1 as a fraction of 2^128, and its square.
uint128_t shiftedRight(uint128_t v, int count) { return count < 128 ? v >> count : 0; }
uint128_t fraction(const Number& n) { return shiftedRight(wide(n), -n.exponent - 1); }
uint128_t square(const Number& n) { return shiftedRight(multiplyHigh(wide(n), wide(n)), -2 * n.exponent - 2); }

// ---- Power series ---------------------------------------------------------------------------------------------------

template <unsigned kTerms>
struct Series {
  uint128_t coefficient[kTerms];

  // c0 + z * (c1 + z * ...) or c0 - z * (c1 - z * ...)
  uint128_t operator()(uint128_t z, bool alternating) const {
    uint128_t value = coefficient[kTerms - 1];
    for (unsigned i = kTerms - 1; i--;) {
      const uint128_t term = multiplyHigh(value, z);
      value = alternating ? coefficient[i] - term : coefficient[i] + term;
    }
    return value;
  }
};

// 1 / first!, 1 / (first + step)!, ...
template <unsigned kTerms>
constexpr Series<kTerms> inverseFactorials(unsigned first, unsigned step) {
  Series<kTerms> series{};
  uint128_t value = kAllOnes;
  unsigned n = 1;
  for (unsigned i = 0; i < kTerms; ++i) {
    for (; n < first + i * step;) value /= ++n;
    series.coefficient[i] = value;
  }
  return series;
}
// 1/3, 1/5, 1/7 ...
template <unsigned kTerms>
constexpr Series<kTerms> inverseOdds() {
  Series<kTerms> series{};
  for (unsigned i = 0; i < kTerms; ++i) series.coefficient[i] = kAllOnes / (2 * i + 3);
  return series;
}

constexpr Series<16> kSine = inverseFactorials<16>(3, 2);
constexpr Series<16> kCosine = inverseFactorials<16>(2, 2);
constexpr Series<32> kExponential = inverseFactorials<32>(2, 1);
constexpr Series<26> kLogarithm = inverseOdds<26>();
constexpr Series<16> kArctangent = inverseOdds<16>();

constexpr Number constant(int exponent, uint64_t high, uint64_t low) {
  return {Number::Finite, false, false, exponent, high, low};
}
constexpr Number kHalfPi = constant(0, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1);
constexpr Number kLn2 = constant(-1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af);
constexpr Number kLog2E = constant(0, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88);
constexpr Number kOne = constant(0, uint64_t{1} << 63, 0);

// ---- Sine and cosine ------------------------------------------------------------------------------------------------

// An angle within a quarter of pi of a multiple of half pi.
struct Reduced {
  Number angle;
  unsigned quadrant;
};

Reduced reduce(const Number& a) {
  if (a.exponent < -1) return {a, 0};
  // In units of 2^-67, of which half a pi of 66 significant bits is this multiple. Long division, bit by bit.
  constexpr uint128_t kHalfPi66 = wide(0xc, 0x90fdaa22168c234c);
  constexpr int kUnits = 67;
  uint128_t rest = a.significand;
  unsigned quadrant = 0;
  for (int i = 0; i < a.exponent - 63 + kUnits; ++i) {
    rest <<= 1;
    quadrant <<= 1;
    if (rest >= kHalfPi66) {
      rest -= kHalfPi66;
      quadrant |= 1;
    }
  }
  bool above = rest << 1 > kHalfPi66;
  if (above) {
    rest = kHalfPi66 - rest;
    ++quadrant;
  }
  return {normal(above != a.negative, 127 - kUnits, rest), a.negative ? 0 - quadrant : quadrant};
}

// 1 - z * series, just below 1 at least.
uint128_t oneMinus(uint128_t z, uint128_t series) {
  const uint128_t difference = multiplyHigh(z, series);
  return difference ? ~difference + 1 : kAllOnes;
}

SineCosine ofReduced(const Number& angle) {
  const uint128_t z = square(angle);
  return {product(angle, oneMinus(z, kSine(z, true))), normal(false, -1, oneMinus(z, kCosine(z, true)))};
}

// ---- Logarithms -----------------------------------------------------------------------------------------------------

// log2((1 + z) / (1 - z)) = 2 * atanh(z) / ln 2, for small z
Number log2OfRatio(const Number& z) {
  const uint128_t w = square(z);
  const Number logarithm = w < 2 ? z : sum(z, product(product(z, w), kLogarithm(w, false)));
  return scaled(product(logarithm, kLog2E), 1);
}

Number log2(const Number& x) {
  constexpr uint64_t kSquareRootOf2 = 0xb504f333f9de6484;
  const bool high = x.significand > kSquareRootOf2;
  const int exponent = x.exponent + high;
  const Number significand = scaled(x, -exponent), difference = sum(significand, negate(kOne));
  if (difference.kind == Number::Zero) return fromInteger(exponent);
  const Number logarithm = log2OfRatio(quotient(difference, sum(significand, kOne)));
  return exponent ? sum(fromInteger(exponent), logarithm) : logarithm;
}

// ---- Arc tangent ----------------------------------------------------------------------------------------------------

// atan(i / 8) by Euler's series: the sum of (2n)!! / (2n + 1)!! * x^(2n + 1) / (1 + x^2)^(n + 1)
struct ArctangentTable {
  uint128_t value[9];
  constexpr ArctangentTable() : value() {
    for (unsigned i = 1; i <= 8; ++i) {
      // The first term is x / (1 + x^2), each next one the last * 2n / (2n + 1) * x^2 / (1 + x^2).
      const unsigned denominator = 64 + i * i;
      uint128_t term = kAllOnes / denominator * (8 * i);
      for (unsigned n = 1; term; ++n) {
        value[i] += term;
        term = term / denominator * (i * i) / (2 * n + 1) * (2 * n);
      }
    }
  }
};
constexpr ArctangentTable kArctangents;

}  // namespace

// Of smaller angles the sine and the tangent are the angle, the cosine is 1, and nothing is rounded.
constexpr int kTinyAngle = -68;

SineCosine sineCosine(const Number& a) {
  if (a.exponent < kTinyAngle) return {a, kOne};
  const Reduced reduced = reduce(a);
  SineCosine result = ofReduced(reduced.angle);
  if (reduced.quadrant & 1) result = {result.cosine, negate(result.sine)};
  if (reduced.quadrant & 2) result = {negate(result.sine), negate(result.cosine)};
  return {inexact(result.sine), inexact(result.cosine)};
}

Number tangent(const Number& a) {
  if (a.exponent < kTinyAngle) return a;
  const SineCosine both = sineCosine(a);
  return inexact(quotient(both.sine, both.cosine));
}

Number partOfPi(Angle angle, bool negative) {
  Number n = kHalfPi;
  switch (angle) {
    case Angle::Quarter: n = scaled(n, -1); break;
    case Angle::Half: break;
    case Angle::ThreeQuarters: n = sum(n, scaled(n, -1)); break;
    case Angle::Whole: n = scaled(n, 1); break;
  }
  n.negative = negative;
  return inexact(n);
}

Number arctangent(const Number& y, const Number& x) {
  Number a = magnitude(y), b = magnitude(x);
  const Number difference = sum(a, negate(b));
  const bool steep = difference.kind == Number::Finite && !difference.negative;
  if (steep) std::swap(a, b);
  constexpr int kTinyRatio = -40;  // of which the arc tangent is the ratio itself
  Number ratio = quotient(a, b);
  if (ratio.exponent < kTinyRatio && !steep && !x.negative) {
    ratio.negative = y.negative;
    return ratio;
  }
  // atan(a / b) = atan(i / 8) + atan((8a - ib) / (8b + ia)), with the i that makes the latter small.
  const unsigned i = ratio.exponent < -4 ? 0 : (static_cast<unsigned>(wide(ratio) >> (123 - ratio.exponent)) + 1) / 2;
  Number angle = zero(false);
  if (i) {
    const Number multiple = fromInteger(i), eight = fromInteger(8);
    const Number numerator = sum(product(a, eight), negate(product(b, multiple)));
    const bool exact = numerator.kind == Number::Zero;
    ratio = exact ? numerator : quotient(numerator, sum(product(b, eight), product(a, multiple)));
    angle = normal(false, -1, kArctangents.value[i]);
  }
  if (ratio.kind == Number::Finite) {
    const uint128_t w = square(ratio);
    angle = sum(angle, product(ratio, oneMinus(w, kArctangent(w, true))));
  }
  if (steep) angle = sum(kHalfPi, negate(angle));
  if (x.negative) angle = sum(scaled(kHalfPi, 1), negate(angle));
  angle.negative = y.negative;
  return inexact(angle);
}

Number exponentialMinus1(const Number& a) {
  if (a.exponent == 0) return scaled(a, a.negative ? -1 : 0);  // of 1 and -1
  const Number x = product(a, kLn2);
  return inexact(sum(x, product(product(x, x), kExponential(fraction(x), x.negative))));
}

Number multiplyLog2(const Number& y, const Number& x) {
  const Number logarithm = log2(x);
  const Number result = product(y, logarithm);
  return x.significand << 1 ? inexact(result) : result;
}

Number multiplyLog2Plus1(const Number& y, const Number& x) {
  const Number two = scaled(kOne, 1);
  const bool small = x.exponent < -2;
  return inexact(product(y, small ? log2OfRatio(quotient(x, sum(x, two))) : log2(sum(x, kOne))));
}

}  // namespace nvmm::cpu
