// IEEE 754 arithmetic as the x87 and SSE units do it, in integers: the same on every host.
//
// A value of any format is unpacked into a Number; the operations take Numbers and give the exact result (or one with
// sticky bits that round alike), which pack() rounds to a format. What happens on the way is gathered in a
// FloatContext.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

// The exceptions, as bits of FSW and MXCSR; their masks are bits of the same order.
namespace fpe {
enum : uint8_t { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32, All = 63 };
constexpr uint8_t kBeforeOperation = IE | DE | ZE;  // found in the operands
}  // namespace fpe

enum class Rounding : uint8_t { Nearest, Down, Up, Zero };  // RC

struct FloatContext {
  Rounding rounding = Rounding::Nearest;
  uint8_t masks = fpe::All;
  bool x87 = false;  // the x87's choice among two NaNs, and its response to unmasked overflow and underflow
  bool flushToZero = false, denormalsAreZero = false;
  uint8_t flags = 0;       // exceptions that occurred
  bool roundedUp = false;  // the last pack() made the magnitude larger (C1)

  uint8_t unmasked() const { return static_cast<uint8_t>(flags & ~masks); }
};

struct Float80 {
  uint64_t significand;
  uint16_t signExponent;
};
constexpr Float80 kDefaultNan80 = {0xc000000000000000, 0xffff};

struct Number {
  enum Kind : uint8_t { Zero, Finite, Infinity, QuietNan, SignalingNan, Unsupported };
  Kind kind;
  bool negative;
  bool denormal;         // was one in its format
  int32_t exponent;      // Finite: the value is 2^exponent * significand / 2^63
  uint64_t significand;  // its top bit is set; of a NaN: with the payload at the top, as in an 80-bit one
  uint64_t rest;         // further bits, the last one sticky

  bool nan() const { return kind >= QuietNan; }
};
constexpr Number kDefaultNan = {Number::QuietNan, true, false, 0, 0xc000000000000000, 0};
constexpr Number zero(bool negative) { return {Number::Zero, negative, false, 0, 0, 0}; }
constexpr Number infinity(bool negative) { return {Number::Infinity, negative, false, 0, 0, 0}; }

// The formats, by the type that holds their bits.
template <typename Bits>
struct Format;
template <>
struct Format<uint32_t> {
  static constexpr unsigned kPrecision = 24, kExponentBits = 8;
};
template <>
struct Format<uint64_t> {
  static constexpr unsigned kPrecision = 53, kExponentBits = 11;
};
template <>
struct Format<Float80> {
  static constexpr unsigned kPrecision = 64, kExponentBits = 15;
};

Number unpack(const FloatContext& context, uint32_t bits);
Number unpack(const FloatContext& context, uint64_t bits);
Number unpack(const FloatContext& context, Float80 bits);

// Rounds. A precision below the format's own is what the x87's PC asks for.
template <typename Bits>
Bits pack(FloatContext& context, const Number& number, unsigned precision = Format<Bits>::kPrecision);

Number add(FloatContext& context, const Number& a, const Number& b);
Number subtract(FloatContext& context, const Number& a, const Number& b);
Number multiply(FloatContext& context, const Number& a, const Number& b);
Number divide(FloatContext& context, const Number& a, const Number& b);
Number squareRoot(FloatContext& context, const Number& a);

// A number on its way to another format or through an operation that only rounds: signaling NaNs become quiet,
// denormals are noticed.
Number convert(FloatContext& context, const Number& a);
// The NaN that an operation on a and b gives if one of them is a NaN.
Number propagateNan(FloatContext& context, const Number& a, const Number& b);
Number invalid(FloatContext& context);

enum class Order : uint8_t { Less, Equal, Greater, Unordered };
// `quiet`: only signaling NaNs are invalid.
Order compare(FloatContext& context, const Number& a, const Number& b, bool quiet);

Number roundToInteger(FloatContext& context, const Number& a);
// Out of range (and NaN): invalid, and the integer indefinite, which is the most negative one.
int64_t toInteger(FloatContext& context, const Number& a, unsigned bits);
Number fromInteger(int64_t value);
Number fromMagnitude(bool negative, uint64_t magnitude);

}  // namespace nvmm::cpu
