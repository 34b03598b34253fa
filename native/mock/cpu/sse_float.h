// Floating-point exceptions of SSE instructions.
#pragma once

#include "simd.h"
#include "softfloat.h"

namespace nvmm::cpu {

// MXCSR
constexpr uint32_t kDaz = 1 << 6, kMxcsrMasks = fpe::All << 7, kMxcsrRounding = 3 << 13, kFtz = 1 << 15;
constexpr unsigned kMxcsrMasksShift = 7, kMxcsrRoundingShift = 13;

inline FloatContext sseContext(const Core& core) {
  const uint32_t mxcsr = core.state.fpu.mxcsr;
  FloatContext c;
  c.rounding = static_cast<Rounding>(mxcsr >> kMxcsrRoundingShift & 3);
  c.masks = mxcsr >> kMxcsrMasksShift & fpe::All;
  c.denormalsAreZero = mxcsr & kDaz;
  c.flushToZero = mxcsr & kFtz && c.masks & fpe::UE;
  return c;
}

// Records what the context gathered. False: #XM.
inline bool signal(Core& core, const FloatContext& context) {
  core.state.fpu.mxcsr |= context.flags;
  return !context.unmasked() || core.raise(core.state.cr4 & kOSXMMEXCPT ? vector::XM : vector::UD);
}

// Whether the host's arithmetic gives the same: rounding to nearest, and with PE set already a normal result of normal
// operands has no effect but its value.
inline bool hostRounds(const Core& core) {
  return (core.state.fpu.mxcsr & (kMxcsrMasks | kMxcsrRounding | fpe::PE)) == (kMxcsrMasks | fpe::PE);
}

template <typename Bits>
struct HostFloat;
template <>
struct HostFloat<uint32_t> {
  using Type = float;
};
template <>
struct HostFloat<uint64_t> {
  using Type = double;
};
template <typename Bits>
inline typename HostFloat<Bits>::Type toHost(Bits bits) {
  typename HostFloat<Bits>::Type value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
template <typename Bits>
inline Bits fromHost(typename HostFloat<Bits>::Type value) {
  Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// The biased exponent, below the sign.
template <typename Bits>
constexpr Bits exponentOf(Bits bits) {
  constexpr unsigned kFraction = Format<Bits>::kPrecision - 1;
  return bits >> kFraction & ((Bits{1} << Format<Bits>::kExponentBits) - 1);
}
template <typename Bits>
constexpr bool isNormal(Bits bits) {
  constexpr Bits kMax = (Bits{1} << Format<Bits>::kExponentBits) - 1;
  return exponentOf(bits) - 1 < kMax - 1;
}
template <typename Bits>
constexpr bool isNormalOrZero(Bits bits) {
  return isNormal(bits) || bits << 1 == 0;
}
// Too large to have been rounded up from a tiny one.
template <typename Bits>
constexpr bool isSafelyNormal(Bits bits) {
  constexpr Bits kMax = (Bits{1} << Format<Bits>::kExponentBits) - 1;
  return exponentOf(bits) - 2 < kMax - 2;
}

// What an operand counts as.
template <typename Bits>
constexpr Bits daz(const FloatContext& context, Bits bits) {
  constexpr Bits kSign = Bits{1} << (sizeof(Bits) * 8 - 1);
  return context.denormalsAreZero && exponentOf(bits) == 0 ? bits & kSign : bits;
}

}  // namespace nvmm::cpu
