// BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, and the bit fields of BMI1 and BMI2.
#include "operand.h"

namespace nvmm::cpu {
namespace {

enum class Bit { Test, Set, Reset, Complement };

// The bit number is modulo the width for registers and immediates. A register's number reaches any bit of memory before
// and after the operand.
template <Bit kBit, bool kImmediate>
struct BitTest {
  static constexpr bool kLockable = kBit != Bit::Test;
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T number = kImmediate ? static_cast<T>(insn->imm) : core.reg<T>(insn->reg);
    uint64_t displacement = 0;
    if constexpr (!kImmediate && kWhere != Where::Register) {
      constexpr unsigned kShift = sizeof(T) == 8 ? 6 : sizeof(T) == 4 ? 5 : 4;
      displacement = static_cast<uint64_t>(static_cast<int64_t>(signExtend(number)) >> kShift) * sizeof(T);
    }
    T mask = static_cast<T>(T{1} << (number & (kBits<T> - 1))), old;
    if constexpr (kBit == Bit::Test) {
      if constexpr (kWhere == Where::Register) {
        old = core.reg<T>(insn->rm);
      } else if (!core.read<T>(insn->segment, (core.address(insn) + displacement) & insn->addressMask(), old)) {
        return stop(core, insn);
      }
    } else {
      auto change = [=](T a) {
        if constexpr (kBit == Bit::Set) return static_cast<T>(a | mask);
        if constexpr (kBit == Bit::Reset) return static_cast<T>(a & ~mask);
        return static_cast<T>(a ^ mask);
      };
      if (!modifyE<T, kWhere>(core, insn, change, old, displacement)) return stop(core, insn);
    }
    core.flags.setCf(old & mask);
    return next(core, insn);
  }
};

template <typename T>
unsigned trailingZeros(T value) {  // not 0
  return static_cast<unsigned>(__builtin_ctzll(value));
}
template <typename T>
unsigned highestBit(T value) {  // not 0
  return 63 - static_cast<unsigned>(__builtin_clzll(value));
}

// Of 0, the register is not changed. ZF is defined; PF and the others are as processors leave them.
template <bool kReverse>
struct BitScan : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    unsigned bit = value == 0 ? 0 : kReverse ? highestBit(value) : trailingZeros(value);
    if (value) core.setReg<T>(insn->reg, static_cast<T>(bit));
    core.flags.set((value ? 0 : kZF) | (__builtin_parity(bit) ? 0 : kPF));
    return next(core, insn);
  }
};

template <bool kLeading>
struct CountZeros : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    T count = kBits<T>;
    if (value) count = static_cast<T>(kLeading ? kBits<T> - 1 - highestBit(value) : trailingZeros(value));
    core.setReg<T>(insn->reg, count);
    core.flags.set((count ? 0 : kZF) | (value ? 0 : kCF));
    return next(core, insn);
  }
};

struct Popcnt : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    core.setReg<T>(insn->reg, static_cast<T>(__builtin_popcountll(value)));
    core.flags.set(value ? 0 : kZF);
    return next(core, insn);
  }
};

// To VEX.vvvv; CF tells about the source.
enum class Lowest { Reset, Mask, Isolate };
template <Lowest kLowest>
struct LowestSet : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!readE<T, kWhere>(core, insn, a)) return stop(core, insn);
    T less = static_cast<T>(a - 1);
    T value = kLowest == Lowest::Reset ? a & less : kLowest == Lowest::Mask ? a ^ less : a & static_cast<T>(-a);
    core.setReg<T>(insn->vvvv, value);
    core.flags.logic<T>(value);
    core.flags.setCarryOverflow(kLowest == Lowest::Isolate ? a != 0 : a == 0, false);
    return next(core, insn);
  }
};

struct Bextr : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!readE<T, kWhere>(core, insn, a)) return stop(core, insn);
    unsigned start = core.state.gpr[insn->vvvv] & 0xff, length = core.state.gpr[insn->vvvv] >> 8 & 0xff;
    T value = start < kBits<T> ? static_cast<T>(a >> start) : T{0};
    if (length < kBits<T>) value &= static_cast<T>((T{1} << length) - 1);
    core.setReg<T>(insn->reg, value);
    core.flags.logic<T>(value);
    return next(core, insn);
  }
};

struct Bzhi : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    unsigned index = core.state.gpr[insn->vvvv] & 0xff;
    if (index < kBits<T>) value &= static_cast<T>((T{1} << index) - 1);
    core.setReg<T>(insn->reg, value);
    core.flags.logic<T>(value);
    core.flags.setCarryOverflow(index >= kBits<T>, false);
    return next(core, insn);
  }
};

template <bool kDeposit>
struct BitGather : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T mask;
    if (!readE<T, kWhere>(core, insn, mask)) return stop(core, insn);
    T source = core.reg<T>(insn->vvvv), value = 0;
    for (T bit = 1; mask; bit = static_cast<T>(bit << 1), mask &= static_cast<T>(mask - 1)) {
      T lowest = mask & static_cast<T>(-mask);
      if (source & (kDeposit ? bit : lowest)) value |= kDeposit ? lowest : bit;
    }
    core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

}  // namespace

V btEG = wideVariantsOf<BitTest<Bit::Test, false>>(), btsEG = wideVariantsOf<BitTest<Bit::Set, false>>(),
  btrEG = wideVariantsOf<BitTest<Bit::Reset, false>>(), btcEG = wideVariantsOf<BitTest<Bit::Complement, false>>();
V btEI = wideVariantsOf<BitTest<Bit::Test, true>>(), btsEI = wideVariantsOf<BitTest<Bit::Set, true>>(),
  btrEI = wideVariantsOf<BitTest<Bit::Reset, true>>(), btcEI = wideVariantsOf<BitTest<Bit::Complement, true>>();
V bsf = wideVariantsOf<BitScan<false>>(), bsr = wideVariantsOf<BitScan<true>>(),
  tzcnt = wideVariantsOf<CountZeros<false>>(), lzcnt = wideVariantsOf<CountZeros<true>>(),
  popcnt = wideVariantsOf<Popcnt>();
V blsr = wideVariantsOf<LowestSet<Lowest::Reset>>(), blsmsk = wideVariantsOf<LowestSet<Lowest::Mask>>(),
  blsi = wideVariantsOf<LowestSet<Lowest::Isolate>>(), bextr = wideVariantsOf<Bextr>(), bzhi = wideVariantsOf<Bzhi>(),
  pdep = wideVariantsOf<BitGather<true>>(), pext = wideVariantsOf<BitGather<false>>();

}  // namespace nvmm::cpu
