// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NOT, NEG, ADCX, ADOX, ANDN.
#include "operand.h"

namespace nvmm::cpu {
namespace {

// An operation: its value, the flags of it, and whether E receives the value.
struct Add {
  static constexpr bool kStores = true;
  template <typename T>
  static T value(T a, T b, bool) {
    return static_cast<T>(a + b);
  }
  template <typename T>
  static void setFlags(Flags& flags, T a, T b, T value, bool) {
    flags.arithmetic<T>(a, b, value, value < a);
  }
};
struct Adc {
  static constexpr bool kStores = true;
  template <typename T>
  static T value(T a, T b, bool carry) {
    return static_cast<T>(a + b + carry);
  }
  template <typename T>
  static void setFlags(Flags& flags, T a, T b, T value, bool carry) {
    flags.arithmetic<T>(a, b, value, carry ? value <= a : value < a);
  }
};
struct Sub {
  static constexpr bool kStores = true;
  template <typename T>
  static T value(T a, T b, bool) {
    return static_cast<T>(a - b);
  }
  template <typename T>
  static void setFlags(Flags& flags, T a, T b, T value, bool) {
    flags.arithmetic<T>(a, b, value, a < b);
  }
};
struct Sbb {
  static constexpr bool kStores = true;
  template <typename T>
  static T value(T a, T b, bool carry) {
    return static_cast<T>(a - b - carry);
  }
  template <typename T>
  static void setFlags(Flags& flags, T a, T b, T value, bool carry) {
    flags.arithmetic<T>(a, b, value, carry ? a <= b : a < b);
  }
};
struct Cmp : Sub {
  static constexpr bool kStores = false;
};
struct Logic {
  static constexpr bool kStores = true;
  template <typename T>
  static void setFlags(Flags& flags, T, T, T value, bool) {
    flags.logic<T>(value);
  }
};
struct And : Logic {
  template <typename T>
  static T value(T a, T b, bool) {
    return a & b;
  }
};
struct Or : Logic {
  template <typename T>
  static T value(T a, T b, bool) {
    return a | b;
  }
};
struct Xor : Logic {
  template <typename T>
  static T value(T a, T b, bool) {
    return a ^ b;
  }
};
struct Test : And {
  static constexpr bool kStores = false;
};

template <class Op, typename T, Where kWhere>
inline const Insn* toE(Core& core, const Insn* insn, T b) {
  bool carry = core.flags.cf();
  T a;
  if constexpr (Op::kStores) {
    if (!modifyE<T, kWhere>(
            core, insn, [=](T old) { return Op::template value<T>(old, b, carry); }, a)) {
      return stop(core, insn);
    }
  } else {
    if (!readE<T, kWhere>(core, insn, a)) return stop(core, insn);
  }
  Op::template setFlags<T>(core.flags, a, b, Op::template value<T>(a, b, carry), carry);
  return next(core, insn);
}

template <class Op>
struct EG {
  static constexpr bool kLockable = Op::kStores;
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return toE<Op, T, kWhere>(core, insn, core.reg<T>(insn->reg));
  }
};

template <class Op>
struct EI {
  static constexpr bool kLockable = Op::kStores;
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return toE<Op, T, kWhere>(core, insn, static_cast<T>(insn->imm));
  }
};

template <class Op>
struct GE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    T a = core.reg<T>(insn->reg);
    bool carry = core.flags.cf();
    T value = Op::template value<T>(a, b, carry);
    Op::template setFlags<T>(core.flags, a, b, value, carry);
    if constexpr (Op::kStores) core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

struct Inc : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!modifyE<T, kWhere>(
            core, insn, [](T old) { return static_cast<T>(old + 1); }, a))
      return stop(core, insn);
    T value = static_cast<T>(a + 1);
    core.flags.step<T>(a, value, value == 0);
    return next(core, insn);
  }
};

struct Dec : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!modifyE<T, kWhere>(
            core, insn, [](T old) { return static_cast<T>(old - 1); }, a))
      return stop(core, insn);
    core.flags.step<T>(a, static_cast<T>(a - 1), a == 0);
    return next(core, insn);
  }
};

struct Not : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!modifyE<T, kWhere>(
            core, insn, [](T old) { return static_cast<T>(~old); }, a))
      return stop(core, insn);
    return next(core, insn);
  }
};

struct Neg : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T a;
    if (!modifyE<T, kWhere>(
            core, insn, [](T old) { return static_cast<T>(-old); }, a))
      return stop(core, insn);
    core.flags.arithmetic<T>(T{0}, a, static_cast<T>(-a), a != 0);
    return next(core, insn);
  }
};

// ADCX adds with CF and changes only CF; ADOX does so with OF.
template <bool kOverflow>
struct AddCarry : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    T a = core.reg<T>(insn->reg);
    bool cf = core.flags.cf(), of = core.flags.of();
    bool carry = kOverflow ? of : cf;
    T value = static_cast<T>(a + b + carry);
    bool out = carry ? value <= a : value < a;
    core.flags.setCarryOverflow(kOverflow ? cf : out, kOverflow ? out : of);
    core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

struct Andn : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    T value = static_cast<T>(~core.reg<T>(insn->vvvv) & b);
    core.flags.logic<T>(value);
    core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

}  // namespace

V addEG = variantsOf<EG<Add>>(), orEG = variantsOf<EG<Or>>(), adcEG = variantsOf<EG<Adc>>(),
  sbbEG = variantsOf<EG<Sbb>>(), andEG = variantsOf<EG<And>>(), subEG = variantsOf<EG<Sub>>(),
  xorEG = variantsOf<EG<Xor>>(), cmpEG = variantsOf<EG<Cmp>>(), testEG = variantsOf<EG<Test>>();
V addGE = variantsOf<GE<Add>>(), orGE = variantsOf<GE<Or>>(), adcGE = variantsOf<GE<Adc>>(),
  sbbGE = variantsOf<GE<Sbb>>(), andGE = variantsOf<GE<And>>(), subGE = variantsOf<GE<Sub>>(),
  xorGE = variantsOf<GE<Xor>>(), cmpGE = variantsOf<GE<Cmp>>();
V addEI = variantsOf<EI<Add>>(), orEI = variantsOf<EI<Or>>(), adcEI = variantsOf<EI<Adc>>(),
  sbbEI = variantsOf<EI<Sbb>>(), andEI = variantsOf<EI<And>>(), subEI = variantsOf<EI<Sub>>(),
  xorEI = variantsOf<EI<Xor>>(), cmpEI = variantsOf<EI<Cmp>>(), testEI = variantsOf<EI<Test>>();
V incE = variantsOf<Inc>(), decE = variantsOf<Dec>(), notE = variantsOf<Not>(), negE = variantsOf<Neg>();
V adcx = variantsOf<AddCarry<false>>(), adox = variantsOf<AddCarry<true>>(), andn = variantsOf<Andn>();

}  // namespace nvmm::cpu
