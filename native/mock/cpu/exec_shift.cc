// Shifts and rotates: ROL, ROR, RCL, RCR, SHL, SHR, SAR, SHLD, SHRD; RORX, SARX, SHLX, SHRX.
//
// OF is defined for a count of 1 only. For other counts processors set it as if the count were 1.
#include "operand.h"

namespace nvmm::cpu {
namespace {

// What an operation leaves. Its count is not 0, and below 32, or 64 for 64 bits.
template <typename T>
struct Shifted {
  T value;
  bool cf, of;
};

template <typename T>
constexpr bool top(T value) {
  return value >> (kBits<T> - 1);
}
template <typename T>
constexpr bool leftOverflow(T a) {  // does its sign change when it is shifted left by 1?
  return top<T>(static_cast<T>(a ^ a << 1));
}

template <typename T>
T rotateLeft(T value, unsigned count) {  // count < width
  return static_cast<T>(value << count | static_cast<T>(value >> (-count & (kBits<T> - 1))));
}

enum class Sets { CarryOverflow, All };

struct Rol {
  static constexpr Sets kSets = Sets::CarryOverflow;
  static constexpr bool kThroughCarry = false;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool) {
    T value = rotateLeft<T>(a, count & (kBits<T> - 1));
    return {value, static_cast<bool>(value & 1), leftOverflow(a)};
  }
};
struct Ror {
  static constexpr Sets kSets = Sets::CarryOverflow;
  static constexpr bool kThroughCarry = false;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool) {
    T value = rotateLeft<T>(a, -count & (kBits<T> - 1));
    return {value, top(value), top(a) != static_cast<bool>(a & 1)};
  }
};
// Rotates of width + 1 bits; the count is below that.
struct Rcl {
  static constexpr Sets kSets = Sets::CarryOverflow;
  static constexpr bool kThroughCarry = true;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool carry) {
    T low = static_cast<T>(count > 1 ? a >> (kBits<T> + 1 - count) : 0);
    T high = static_cast<T>(count < kBits<T> ? a << count : 0);
    T value = static_cast<T>(high | static_cast<T>(T{carry} << (count - 1)) | low);
    return {value, static_cast<bool>(a >> (kBits<T> - count) & 1), leftOverflow(a)};
  }
};
struct Rcr {
  static constexpr Sets kSets = Sets::CarryOverflow;
  static constexpr bool kThroughCarry = true;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool carry) {
    T low = static_cast<T>(count < kBits<T> ? a >> count : 0);
    T high = static_cast<T>(count > 1 ? a << (kBits<T> + 1 - count) : 0);
    T value = static_cast<T>(high | static_cast<T>(T{carry} << (kBits<T> - count)) | low);
    return {value, static_cast<bool>(a >> (count - 1) & 1), top(a) != carry};
  }
};
struct Shl {
  static constexpr Sets kSets = Sets::All;
  static constexpr bool kThroughCarry = false;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool) {
    uint64_t wide = a;
    bool cf = count <= kBits<T> && (wide >> (kBits<T> - count) & 1);
    return {static_cast<T>(wide << count), cf, leftOverflow(a)};
  }
};
struct Shr {
  static constexpr Sets kSets = Sets::All;
  static constexpr bool kThroughCarry = false;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool) {
    uint64_t wide = a;
    return {static_cast<T>(wide >> count), static_cast<bool>(wide >> (count - 1) & 1), top(a)};
  }
};
struct Sar {
  static constexpr Sets kSets = Sets::All;
  static constexpr bool kThroughCarry = false;
  template <typename T>
  static Shifted<T> of(T a, unsigned count, bool) {
    int64_t wide = static_cast<int64_t>(signExtend(a));
    return {static_cast<T>(wide >> count), static_cast<bool>(wide >> (count - 1) & 1), false};
  }
};

template <typename T>
constexpr unsigned kCountMask = sizeof(T) == 8 ? 63 : 31;

enum class Count { Immediate, Cl, One };

template <class Op, Count kCount>
struct Shift : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    unsigned count = 1;
    if constexpr (kCount == Count::Immediate) count = insn->imm & kCountMask<T>;
    if constexpr (kCount == Count::Cl) count = core.state.gpr[RCX] & kCountMask<T>;
    if constexpr (Op::kThroughCarry) count %= kBits<T> + 1;
    if (count == 0) {  // no flag changes, but the operand is accessed, and a 32-bit register extended
      T same;
      if (!modifyE<T, kWhere>(
              core, insn, [](T a) { return a; }, same))
        return stop(core, insn);
      return next(core, insn);
    }
    bool carry = core.flags.cf();
    T a;
    auto shift = [=](T from) { return Op::template of<T>(from, count, carry).value; };
    if (!modifyE<T, kWhere>(core, insn, shift, a)) return stop(core, insn);
    Shifted<T> shifted = Op::template of<T>(a, count, carry);
    if constexpr (Op::kSets == Sets::All) {
      core.flags.shift<T>(shifted.value, shifted.cf, shifted.of);
    } else {
      core.flags.setCarryOverflow(shifted.cf, shifted.of);
    }
    return next(core, insn);
  }
};

// Double shifts. A 16-bit operand and a count above 16 give an undefined result; here, what rotating E:G:E would bring.
struct ShiftLeftDouble {
  template <typename T>
  static Shifted<T> of(T a, T b, unsigned count) {
    T value;
    bool cf;
    if constexpr (sizeof(T) == 2) {
      uint64_t wide = static_cast<uint64_t>(a) << 32 | static_cast<uint64_t>(b) << 16 | a;
      value = static_cast<T>(wide << count >> 32);
      cf = wide << count >> 48 & 1;
    } else {
      value = static_cast<T>(a << count | b >> (kBits<T> - count));
      cf = a >> (kBits<T> - count) & 1;
    }
    return {value, cf, leftOverflow(a)};
  }
};
struct ShiftRightDouble {
  template <typename T>
  static Shifted<T> of(T a, T b, unsigned count) {
    T value;
    bool cf;
    if constexpr (sizeof(T) == 2) {
      uint64_t wide = static_cast<uint64_t>(a) << 32 | static_cast<uint64_t>(b) << 16 | a;
      value = static_cast<T>(wide >> count);
      cf = wide >> (count - 1) & 1;
    } else {
      value = static_cast<T>(a >> count | b << (kBits<T> - count));
      cf = a >> (count - 1) & 1;
    }
    return {value, cf, top(a) != static_cast<bool>(b & 1)};
  }
};

template <class Op, Count kCount>
struct DoubleShift : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t from = kCount == Count::Immediate ? insn->imm : core.state.gpr[RCX];
    unsigned count = from & kCountMask<T>;
    T b = core.reg<T>(insn->reg), a;
    auto shift = [=](T old) { return count ? Op::template of<T>(old, b, count).value : old; };
    if (!modifyE<T, kWhere>(core, insn, shift, a)) return stop(core, insn);
    if (count) {
      Shifted<T> shifted = Op::template of<T>(a, b, count);
      core.flags.shift<T>(shifted.value, shifted.cf, shifted.of);
    }
    return next(core, insn);
  }
};

// BMI2: no flags; the count in VEX.vvvv.
template <class Op, bool kImmediate>
struct ShiftX : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!readE<T, kWhere>(core, insn, a)) return stop(core, insn);
    unsigned count = (kImmediate ? insn->imm : core.state.gpr[insn->vvvv]) & kCountMask<T>;
    core.setReg<T>(insn->reg, count ? Op::template of<T>(a, count, false).value : a);
    return next(core, insn);
  }
};

}  // namespace

V rolI = variantsOf<Shift<Rol, Count::Immediate>>(), rorI = variantsOf<Shift<Ror, Count::Immediate>>(),
  rclI = variantsOf<Shift<Rcl, Count::Immediate>>(), rcrI = variantsOf<Shift<Rcr, Count::Immediate>>(),
  shlI = variantsOf<Shift<Shl, Count::Immediate>>(), shrI = variantsOf<Shift<Shr, Count::Immediate>>(),
  sarI = variantsOf<Shift<Sar, Count::Immediate>>();
V rolC = variantsOf<Shift<Rol, Count::Cl>>(), rorC = variantsOf<Shift<Ror, Count::Cl>>(),
  rclC = variantsOf<Shift<Rcl, Count::Cl>>(), rcrC = variantsOf<Shift<Rcr, Count::Cl>>(),
  shlC = variantsOf<Shift<Shl, Count::Cl>>(), shrC = variantsOf<Shift<Shr, Count::Cl>>(),
  sarC = variantsOf<Shift<Sar, Count::Cl>>();
V rol1 = variantsOf<Shift<Rol, Count::One>>(), ror1 = variantsOf<Shift<Ror, Count::One>>(),
  rcl1 = variantsOf<Shift<Rcl, Count::One>>(), rcr1 = variantsOf<Shift<Rcr, Count::One>>(),
  shl1 = variantsOf<Shift<Shl, Count::One>>(), shr1 = variantsOf<Shift<Shr, Count::One>>(),
  sar1 = variantsOf<Shift<Sar, Count::One>>();
V shldI = wideVariantsOf<DoubleShift<ShiftLeftDouble, Count::Immediate>>(),
  shrdI = wideVariantsOf<DoubleShift<ShiftRightDouble, Count::Immediate>>(),
  shldC = wideVariantsOf<DoubleShift<ShiftLeftDouble, Count::Cl>>(),
  shrdC = wideVariantsOf<DoubleShift<ShiftRightDouble, Count::Cl>>();
V rorx = wideVariantsOf<ShiftX<Ror, true>>(), sarx = wideVariantsOf<ShiftX<Sar, false>>(),
  shlx = wideVariantsOf<ShiftX<Shl, false>>(), shrx = wideVariantsOf<ShiftX<Shr, false>>();

}  // namespace nvmm::cpu
