// The arithmetic flags, kept as the values they follow from: most are never asked for.
#pragma once

#include <cstdint>
#include <type_traits>

#include "state.h"

namespace nvmm::cpu {

template <typename T>
constexpr uint64_t signExtend(T value) {
  return static_cast<uint64_t>(static_cast<int64_t>(static_cast<std::make_signed_t<T>>(value)));
}

template <typename T>
constexpr unsigned kBits = sizeof(T) * 8;

struct Flags {
  uint64_t result;  // ZF: it is 0
  uint64_t sign;    // SF: bit 63; PF: the parity of the low byte
  uint64_t aux;     // AF: bit 4; OF: bit 63 xor CF. After an addition: the carry into each bit, sign-extended
  bool carry;       // CF

  bool cf() const { return carry; }
  bool zf() const { return result == 0; }
  bool sf() const { return sign >> 63; }
  bool pf() const { return !__builtin_parity(sign & 0xff); }
  bool af() const { return aux >> 4 & 1; }
  bool of() const { return aux >> 63 ^ carry; }

  uint64_t get() const {
    return (cf() ? kCF : 0) | (pf() ? kPF : 0) | (af() ? kAF : 0) | (zf() ? kZF : 0) | (sf() ? kSF : 0) |
           (of() ? kOF : 0);
  }
  void set(uint64_t rflags) {
    result = !(rflags & kZF);
    sign = (rflags & kSF ? uint64_t{1} << 63 : 0) | !(rflags & kPF);
    carry = rflags & kCF;
    aux = static_cast<uint64_t>(!(rflags & kOF) == carry) << 63 | (rflags & kAF);
  }
  void setZf(bool value) { set(value ? get() | kZF : get() & ~kZF); }
  // The others stay.
  void setCf(bool value) { setCarryOverflow(value, of()); }
  void setCarryOverflow(bool cf, bool of) {
    carry = cf;
    aux = (aux & kAF) | static_cast<uint64_t>(cf != of) << 63;
  }

  template <typename T>
  void logic(T value) {
    result = sign = signExtend(value);
    aux = 0;
    carry = false;
  }
  template <typename T>
  void shift(T value, bool cf, bool of) {
    result = sign = signExtend(value);
    aux = static_cast<uint64_t>(cf != of) << 63;
    carry = cf;
  }
  // Of multiplications only CF and OF are defined; for the others, what processors do.
  template <typename T>
  void product(T low, bool overflow) {
    result = 1;
    sign = signExtend(low);
    aux = 0;
    carry = overflow;
  }
  // value = a + b + a carry, or a - b - a borrow: the carries into the bits are the same expression.
  template <typename T>
  void arithmetic(T a, T b, T value, bool carryOut) {
    result = sign = signExtend(value);
    aux = signExtend(static_cast<T>(a ^ b ^ value));
    carry = carryOut;
  }
  // The same for INC, DEC, which leave CF.
  template <typename T>
  void step(T a, T value, bool carryOut) {
    result = sign = signExtend(value);
    aux = signExtend(static_cast<T>(a ^ 1 ^ value)) ^ static_cast<uint64_t>(carryOut != carry) << 63;
  }

  // Jcc, SETcc, CMOVcc: the low four bits of the opcode.
  template <unsigned kCondition>
  bool test() const {
    constexpr unsigned kKind = kCondition >> 1;
    bool is = false;
    if constexpr (kKind == 0) is = of();
    if constexpr (kKind == 1) is = cf();
    if constexpr (kKind == 2) is = zf();
    if constexpr (kKind == 3) is = cf() || zf();
    if constexpr (kKind == 4) is = sf();
    if constexpr (kKind == 5) is = pf();
    if constexpr (kKind == 6) is = sf() != of();
    if constexpr (kKind == 7) is = zf() || sf() != of();
    return is != static_cast<bool>(kCondition & 1);
  }
};

}  // namespace nvmm::cpu
