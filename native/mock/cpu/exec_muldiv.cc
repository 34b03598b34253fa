// MUL, IMUL, DIV, IDIV, MULX.
#include "operand.h"

namespace nvmm::cpu {
namespace {

template <typename T>
using Double = std::conditional_t<
    sizeof(T) == 1, uint16_t,
    std::conditional_t<sizeof(T) == 2, uint32_t, std::conditional_t<sizeof(T) == 4, uint64_t, unsigned __int128>>>;

// rDX:rAX; for bytes AX.
template <typename T>
Double<T> accumulators(const Core& core) {
  if constexpr (sizeof(T) == 1)
    return core.reg<uint16_t>(RAX);
  else
    return static_cast<Double<T>>(static_cast<Double<T>>(core.reg<T>(RDX)) << kBits<T> | core.reg<T>(RAX));
}
template <typename T>
void setAccumulators(Core& core, T high, T low) {
  core.setReg<T>(0, low);
  core.setReg<T>(sizeof(T) == 1 ? 1 : static_cast<unsigned>(RDX), high);  // AH
}

template <typename T>
Double<T> product(T a, T b) {
  return static_cast<Double<T>>(static_cast<Double<T>>(a) * b);
}
// Two's complement: the unsigned product, less what the signs weigh.
template <typename T>
Double<T> signedProduct(T a, T b) {
  Double<T> value = product<T>(a, b);
  if (a >> (kBits<T> - 1)) value -= static_cast<Double<T>>(b) << kBits<T>;
  if (b >> (kBits<T> - 1)) value -= static_cast<Double<T>>(a) << kBits<T>;
  return value;
}
template <typename T>
bool fitsSigned(Double<T> value) {  // the upper half is the sign of the lower
  T high = static_cast<T>(value >> kBits<T>), low = static_cast<T>(value);
  return high == static_cast<T>(low >> (kBits<T> - 1) ? ~T{0} : T{0});
}

struct Mul : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    Double<T> value = product<T>(core.reg<T>(0), b);
    T high = static_cast<T>(value >> kBits<T>);
    setAccumulators<T>(core, high, static_cast<T>(value));
    core.flags.product<T>(static_cast<T>(value), high);
    return next(core, insn);
  }
};

struct Imul : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    Double<T> value = signedProduct<T>(core.reg<T>(0), b);
    setAccumulators<T>(core, static_cast<T>(value >> kBits<T>), static_cast<T>(value));
    core.flags.product<T>(static_cast<T>(value), !fitsSigned<T>(value));
    return next(core, insn);
  }
};

template <bool kImmediate>
struct ImulG : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    Double<T> value = signedProduct<T>(kImmediate ? static_cast<T>(insn->imm) : core.reg<T>(insn->reg), b);
    core.setReg<T>(insn->reg, static_cast<T>(value));
    core.flags.product<T>(static_cast<T>(value), !fitsSigned<T>(value));
    return next(core, insn);
  }
};

// Both divisions work on magnitudes. False: #DE, by zero or because the quotient does not fit.
template <typename T>
bool divide(Double<T> dividend, T divisor, Double<T>& quotient, T& remainder) {
  if (divisor == 0) return false;
  if (static_cast<T>(dividend >> kBits<T>) == 0) {  // the division of the host's own width
    T low = static_cast<T>(dividend);
    quotient = static_cast<T>(low / divisor);
    remainder = static_cast<T>(low % divisor);
  } else {
    quotient = static_cast<Double<T>>(dividend / divisor);
    remainder = static_cast<T>(dividend % divisor);
  }
  return true;
}

struct Div : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T divisor, remainder;
    if (!readE<T, kWhere>(core, insn, divisor)) return stop(core, insn);
    Double<T> quotient;
    if (!divide<T>(accumulators<T>(core), divisor, quotient, remainder) || static_cast<T>(quotient >> kBits<T>)) {
      return fault(core, insn, vector::DE);
    }
    setAccumulators<T>(core, remainder, static_cast<T>(quotient));
    return next(core, insn);
  }
};

struct Idiv : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T divisor, remainder;
    if (!readE<T, kWhere>(core, insn, divisor)) return stop(core, insn);
    Double<T> dividend = accumulators<T>(core), quotient;
    bool dividendNegative = dividend >> (2 * kBits<T> - 1), divisorNegative = divisor >> (kBits<T> - 1);
    if (dividendNegative) dividend = static_cast<Double<T>>(-dividend);
    if (divisorNegative) divisor = static_cast<T>(-divisor);
    constexpr Double<T> kMost = static_cast<Double<T>>(Double<T>{1} << (kBits<T> - 1));  // of a negative quotient
    bool negative = dividendNegative != divisorNegative;
    if (!divide<T>(dividend, divisor, quotient, remainder) || quotient > (negative ? kMost : kMost - 1)) {
      return fault(core, insn, vector::DE);
    }
    T low = static_cast<T>(quotient);
    setAccumulators<T>(core, static_cast<T>(dividendNegative ? -remainder : remainder),
                       static_cast<T>(negative ? -low : low));
    return next(core, insn);
  }
};

struct Mulx : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T b;
    if (!readE<T, kWhere>(core, insn, b)) return stop(core, insn);
    Double<T> value = product<T>(core.reg<T>(RDX), b);
    core.setReg<T>(insn->vvvv, static_cast<T>(value));
    core.setReg<T>(insn->reg, static_cast<T>(value >> kBits<T>));  // the upper half wins where they are the same
    return next(core, insn);
  }
};

}  // namespace

V mulE = variantsOf<Mul>(), imulE = variantsOf<Imul>(), divE = variantsOf<Div>(), idivE = variantsOf<Idiv>();
V imulGE = wideVariantsOf<ImulG<false>>(), imulGEI = wideVariantsOf<ImulG<true>>(), mulx = wideVariantsOf<Mulx>();

}  // namespace nvmm::cpu
