// x87: FADD ... FDIVR in all forms, comparisons, FCHS, FABS, FXAM, FSQRT, FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1.
#include "fpu.h"
#include "handlers.h"

namespace nvmm::cpu {
namespace {

Number reverseSubtract(FloatContext& c, const Number& a, const Number& b) { return subtract(c, b, a); }
Number reverseDivide(FloatContext& c, const Number& a, const Number& b) { return divide(c, b, a); }

using Operation = Number (*)(FloatContext&, const Number&, const Number&);

// The memory operand as a Number: a real, or an integer of the signed type T.
template <typename T>
bool readNumber(X87& x, const FloatContext& context, Number& number) {
  if constexpr (std::is_signed_v<T>) {
    std::make_unsigned_t<T> value;
    if (!x.read(value)) return false;
    number = fromInteger(static_cast<T>(value));
  } else {
    T value;
    if (!x.read(value)) return false;
    number = unpack(context, value);
  }
  return true;
}

// ST(i) = ST(i) op b. False: an exception that is not masked prevents it.
template <Operation kOperation>
bool operate(X87& x, FloatContext& c, unsigned i, const Number& b) {
  return x.store(c, kOperation(c, unpack(c, x.st(i)), b), i, x.precision());
}

template <Operation kOperation, typename T>
const Insn* withMemory(Core& core, const Insn* insn) {
  X87 x(core, insn);
  FloatContext c = x.context();
  Number b;
  if (!x.ready() || !readNumber<T>(x, c, b)) return stop(core, insn);
  x.begin();
  if (!x.empty(0)) {
    operate<kOperation>(x, c, 0, b);
  } else if (x.underflow()) {
    x.set(0, kDefaultNan80);
  }
  return next(core, insn);
}

enum class To { St0, Sti, StiPop };

template <Operation kOperation, To kTo>
const Insn* withRegister(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  const unsigned to = kTo == To::St0 ? 0 : x.operand(), from = kTo == To::St0 ? x.operand() : 0;
  bool done;
  if (x.empty(to) || x.empty(from)) {
    done = x.underflow();
    if (done) x.set(to, kDefaultNan80);
  } else {
    FloatContext c = x.context();
    done = operate<kOperation>(x, c, to, unpack(c, x.st(from)));
  }
  if (kTo == To::StiPop && done) x.pop();
  return next(core, insn);
}

// ---- Comparisons ----------------------------------------------------------------------------------------------------

constexpr uint16_t conditionCodes(Order order) {
  constexpr uint16_t kCodes[] = {kC0, kC3, 0, kConditionCodes};
  return kCodes[static_cast<unsigned>(order)];
}

// Compares, and pops so often; only signaling NaNs are invalid for the quiet ones. An exception that is not masked
// prevents only the pops.
void compareWith(X87& x, FloatContext& c, bool isEmpty, const Number& b, bool quiet, unsigned pops) {
  Order order = Order::Unordered;
  bool done;
  if (isEmpty || x.empty(0)) {
    done = x.underflow();
  } else {
    order = compare(c, unpack(c, x.st(0)), b, quiet);
    done = x.signal(c.flags);
  }
  x.setConditionCodes(conditionCodes(order));
  while (done && pops--) x.pop();
}

template <typename T, unsigned kPops>
const Insn* compareMemory(Core& core, const Insn* insn) {
  X87 x(core, insn);
  FloatContext c = x.context();
  Number b;
  if (!x.ready() || !readNumber<T>(x, c, b)) return stop(core, insn);
  x.begin();
  compareWith(x, c, false, b, false, kPops);
  return next(core, insn);
}

template <bool kQuiet, unsigned kPops>
const Insn* compareRegister(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  FloatContext c = x.context();
  compareWith(x, c, x.empty(x.operand()), unpack(c, x.st(x.operand())), kQuiet, kPops);
  return next(core, insn);
}

// FCOMI: to ZF, PF, CF. OF, SF and AF are cleared.
template <bool kQuiet, unsigned kPops>
const Insn* compareToFlags(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.startKeepingC1()) return stop(core, insn);
  Order order = Order::Unordered;
  bool done;
  if (x.empty(0) || x.empty(x.operand())) {
    done = x.underflow();
  } else {
    FloatContext c = x.context();
    order = compare(c, unpack(c, x.st(0)), unpack(c, x.st(x.operand())), kQuiet);
    done = x.signal(c.flags);
  }
  core.flags.set(orderFlags(order));
  if (done && kPops) x.pop();
  return next(core, insn);
}

template <Operation kOperation>
constexpr Variants realForms() {
  return {{{},
           {},
           {withRegister<kOperation, To::St0>, withMemory<kOperation, uint32_t>},
           {nullptr, withMemory<kOperation, uint64_t>}}};
}
template <Operation kOperation>
constexpr Variants integerForms() {
  return {{{}, {nullptr, withMemory<kOperation, int16_t>}, {nullptr, withMemory<kOperation, int32_t>}, {}}};
}
template <unsigned kPops>
constexpr Variants realComparison() {
  return {{{},
           {},
           {compareRegister<false, kPops>, compareMemory<uint32_t, kPops>},
           {nullptr, compareMemory<uint64_t, kPops>}}};
}
template <unsigned kPops>
constexpr Variants integerComparison() {
  return {{{}, {nullptr, compareMemory<int16_t, kPops>}, {nullptr, compareMemory<int32_t, kPops>}, {}}};
}

// ST = f(ST), without numeric exceptions.
template <typename F>
const Insn* replace(Core& core, const Insn* insn, F f) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (!x.empty(0)) {
    x.set(0, f(x.st(0)));
  } else if (x.underflow()) {
    x.set(0, kDefaultNan80);
  }
  return next(core, insn);
}

// ST = f(ST) with them.
template <typename F>
const Insn* compute(Core& core, const Insn* insn, unsigned precision, F f) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (!x.empty(0)) {
    FloatContext c = x.context();
    x.store(c, f(c, unpack(c, x.st(0))), 0, precision);
  } else if (x.underflow()) {
    x.set(0, kDefaultNan80);
  }
  return next(core, insn);
}

// ---- FPREM, FPREM1 --------------------------------------------------------------------------------------------------

// One step of a division: a remainder whose exponent is far from b's is left partial (C2).
struct Remainder {
  Number value;
  unsigned quotient;  // the low bits
  bool partial;
};

Remainder remainder(const Number& a, const Number& b, bool nearest) {
  int distance = a.exponent - b.exponent;
  if (distance < -1 || (distance == -1 && !nearest)) return {a, 0, false};
  constexpr int kComplete = 64;
  const bool partial = distance >= kComplete;
  // A partial step takes away 32 to 63 bits, as many as the distance is from a multiple of 32.
  const int steps = partial ? (distance & 31) | 32 : distance;
  using uint128_t = unsigned __int128;
  uint128_t rest = a.significand, divisor = b.significand;  // in units of the bit that is divided last
  uint64_t quotient = 0;
  int exponent = partial ? a.exponent - steps : b.exponent;
  if (distance == -1) {
    divisor <<= 1;
    exponent = a.exponent;
  }
  for (int i = 0; i <= (distance < 0 ? 0 : steps); ++i) {
    if (i) rest <<= 1, quotient <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1;
    }
  }
  bool negative = a.negative;
  if (nearest && !partial && (rest << 1 > divisor || (rest << 1 == divisor && quotient & 1))) {
    rest = divisor - rest;
    negative = !negative;
    ++quotient;
  }
  Number value = zero(negative);
  if (rest) {
    value = fromMagnitude(negative, static_cast<uint64_t>(rest));
    value.exponent += exponent - 63;
  } else {
    value.negative = a.negative;
  }
  return {value, static_cast<unsigned>(quotient & 7), partial};
}

template <bool kNearest>
const Insn* partialRemainder(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  x.setC2(false);
  if (x.empty(0) || x.empty(1)) {
    if (x.underflow()) x.set(0, kDefaultNan80);
    return next(core, insn);
  }
  FloatContext c = x.context();
  const Number a = unpack(c, x.st(0)), b = unpack(c, x.st(1));
  if (a.nan() || b.nan()) {
    x.store(c, propagateNan(c, a, b), 0);
  } else if (a.kind == Number::Infinity || b.kind == Number::Zero) {
    x.store(c, invalid(c), 0);
  } else {
    if (a.denormal || b.denormal) c.flags |= fpe::DE;
    const bool finite = a.kind == Number::Finite && b.kind == Number::Finite;
    const Remainder r = finite ? remainder(a, b, kNearest) : Remainder{a, 0, false};
    if (x.store(c, r.value, 0)) {
      const unsigned q = r.quotient;
      x.setConditionCodes(r.partial ? kC2 : (q & 4 ? kC0 : 0) | (q & 2 ? kC3 : 0));
      x.setC1(q & 1 && !r.partial);
    }
  }
  return next(core, insn);
}

}  // namespace

V fadd = realForms<add>(), fsub = realForms<subtract>(), fsubr = realForms<reverseSubtract>(),
  fmul = realForms<multiply>(), fdiv = realForms<divide>(), fdivr = realForms<reverseDivide>();
V fiadd = integerForms<add>(), fisub = integerForms<subtract>(), fisubr = integerForms<reverseSubtract>(),
  fimul = integerForms<multiply>(), fidiv = integerForms<divide>(), fidivr = integerForms<reverseDivide>();
V fcom = realComparison<0>(), fcomp = realComparison<1>(), ficom = integerComparison<0>(),
  ficomp = integerComparison<1>();

const Insn* faddSti(Core& core, const Insn* insn) { return withRegister<add, To::Sti>(core, insn); }
const Insn* fsubSti(Core& core, const Insn* insn) { return withRegister<subtract, To::Sti>(core, insn); }
const Insn* fsubrSti(Core& core, const Insn* insn) { return withRegister<reverseSubtract, To::Sti>(core, insn); }
const Insn* fmulSti(Core& core, const Insn* insn) { return withRegister<multiply, To::Sti>(core, insn); }
const Insn* fdivSti(Core& core, const Insn* insn) { return withRegister<divide, To::Sti>(core, insn); }
const Insn* fdivrSti(Core& core, const Insn* insn) { return withRegister<reverseDivide, To::Sti>(core, insn); }
const Insn* faddp(Core& core, const Insn* insn) { return withRegister<add, To::StiPop>(core, insn); }
const Insn* fsubp(Core& core, const Insn* insn) { return withRegister<subtract, To::StiPop>(core, insn); }
const Insn* fsubrp(Core& core, const Insn* insn) { return withRegister<reverseSubtract, To::StiPop>(core, insn); }
const Insn* fmulp(Core& core, const Insn* insn) { return withRegister<multiply, To::StiPop>(core, insn); }
const Insn* fdivp(Core& core, const Insn* insn) { return withRegister<divide, To::StiPop>(core, insn); }
const Insn* fdivrp(Core& core, const Insn* insn) { return withRegister<reverseDivide, To::StiPop>(core, insn); }

const Insn* fcomSti(Core& core, const Insn* insn) { return compareRegister<false, 0>(core, insn); }
const Insn* fcompSti(Core& core, const Insn* insn) { return compareRegister<false, 1>(core, insn); }
const Insn* fcompp(Core& core, const Insn* insn) { return compareRegister<false, 2>(core, insn); }
const Insn* fucom(Core& core, const Insn* insn) { return compareRegister<true, 0>(core, insn); }
const Insn* fucomp(Core& core, const Insn* insn) { return compareRegister<true, 1>(core, insn); }
const Insn* fucompp(Core& core, const Insn* insn) { return compareRegister<true, 2>(core, insn); }
const Insn* fcomi(Core& core, const Insn* insn) { return compareToFlags<false, 0>(core, insn); }
const Insn* fcomip(Core& core, const Insn* insn) { return compareToFlags<false, 1>(core, insn); }
const Insn* fucomi(Core& core, const Insn* insn) { return compareToFlags<true, 0>(core, insn); }
const Insn* fucomip(Core& core, const Insn* insn) { return compareToFlags<true, 1>(core, insn); }

const Insn* ftst(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  FloatContext c = x.context();
  compareWith(x, c, false, zero(false), false, 0);
  return next(core, insn);
}

const Insn* fxam(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  const Float80 value = x.st(0);
  uint16_t codes = 0;
  switch (unpack(FloatContext{}, value).kind) {
    case Number::Unsupported: break;
    case Number::QuietNan:
    case Number::SignalingNan: codes = kC0; break;
    case Number::Finite: codes = value.signExponent & 0x7fff ? kC2 : kC2 | kC3; break;
    case Number::Infinity: codes = kC0 | kC2; break;
    case Number::Zero: codes = kC3; break;
  }
  x.setConditionCodes(x.empty(0) ? kC0 | kC3 : codes);
  x.setC1(value.signExponent >> 15);
  return next(core, insn);
}

const Insn* fchs(Core& core, const Insn* insn) {
  return replace(core, insn, [](Float80 v) { return v.signExponent ^= 0x8000, v; });
}
const Insn* fabs_(Core& core, const Insn* insn) {
  return replace(core, insn, [](Float80 v) { return v.signExponent &= 0x7fff, v; });
}
const Insn* fsqrt(Core& core, const Insn* insn) { return compute(core, insn, X87(core, insn).precision(), squareRoot); }
const Insn* frndint(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (!x.empty(0)) {
    FloatContext c = x.context();
    Number result = roundToInteger(c, unpack(c, x.st(0)));
    const bool up = c.roundedUp;
    if (x.store(c, result, 0)) x.setC1(up);
  } else if (x.underflow()) {
    x.set(0, kDefaultNan80);
  }
  return next(core, insn);
}

const Insn* fscale(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (x.empty(0) || x.empty(1)) {
    if (x.underflow()) x.set(0, kDefaultNan80);
    return next(core, insn);
  }
  FloatContext c = x.context();
  Number a = unpack(c, x.st(0));
  const Number b = unpack(c, x.st(1));
  if (a.nan() || b.nan()) {
    a = propagateNan(c, a, b);
  } else if (b.kind == Number::Infinity && (b.negative ? a.kind == Number::Infinity : a.kind == Number::Zero)) {
    a = invalid(c);
  } else {
    if (a.denormal || b.denormal) c.flags |= fpe::DE;
    if (b.kind == Number::Infinity) {
      a = b.negative ? zero(a.negative) : infinity(a.negative);
    } else if (a.kind == Number::Finite && b.kind == Number::Finite) {
      // Beyond this every result overflows or underflows in the same way.
      constexpr int kFar = 1 << 17;
      FloatContext chop;
      chop.rounding = Rounding::Zero;
      int by = b.exponent > 16 ? (b.negative ? -kFar : kFar) : static_cast<int>(toInteger(chop, b, 64));
      a.exponent += by;
    }
  }
  x.store(c, a, 0);
  return next(core, insn);
}

// ST = the exponent, and the significand is pushed.
const Insn* fxtract(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  const bool missing = x.empty(0);
  if (missing || !x.empty(7)) {
    if (missing ? x.underflow() : x.overflow()) {
      x.set(0, kDefaultNan80);
      x.push(kDefaultNan80);
    }
    return next(core, insn);
  }
  FloatContext c = x.context();
  Number exponent = unpack(c, x.st(0)), significand = exponent;
  if (significand.nan()) {
    exponent = significand = propagateNan(c, exponent, exponent);
  } else if (significand.kind == Number::Infinity) {
    exponent = infinity(false);
  } else if (significand.kind == Number::Zero) {
    c.flags |= fpe::ZE;
    exponent = infinity(true);
  } else {
    if (significand.denormal) c.flags |= fpe::DE;
    exponent = fromInteger(significand.exponent);
    significand.exponent = 0;
  }
  if (x.store(c, exponent, 0)) x.push(pack<Float80>(c, significand));
  return next(core, insn);
}

const Insn* fprem(Core& core, const Insn* insn) { return partialRemainder<false>(core, insn); }
const Insn* fprem1(Core& core, const Insn* insn) { return partialRemainder<true>(core, insn); }

}  // namespace nvmm::cpu
