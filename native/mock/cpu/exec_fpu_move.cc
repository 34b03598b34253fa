// x87: loads and stores of reals, integers and decimals, constants, FXCH, FCMOV, and the housekeeping of the stack.
#include "fpu.h"
#include "handlers.h"

namespace nvmm::cpu {
namespace {

// ---- Loads ----------------------------------------------------------------------------------------------------------

// Pushes what is exact in 80 bits.
void pushExact(X87& x, Float80 value) {
  if (x.empty(7)) {
    x.push(value);
  } else if (x.overflow()) {
    x.push(kDefaultNan80);
  }
}

template <typename T>
const Insn* loadReal(Core& core, const Insn* insn) {
  X87 x(core, insn);
  T bits;
  if (!x.ready() || !x.read(bits)) return stop(core, insn);
  x.begin();
  FloatContext c = x.context();
  const Number value = convert(c, unpack(c, bits));
  if (!x.empty(7)) {
    pushExact(x, {});
  } else if (x.signal(c.flags) || !(c.unmasked() & fpe::IE)) {  // a denormal is loaded even when that is not masked
    x.push(pack<Float80>(c, value));
  }
  return next(core, insn);
}

template <typename T>
const Insn* loadInteger(Core& core, const Insn* insn) {
  X87 x(core, insn);
  std::make_unsigned_t<T> value;
  if (!x.ready() || !x.read(value)) return stop(core, insn);
  x.begin();
  FloatContext c;
  pushExact(x, pack<Float80>(c, fromInteger(static_cast<T>(value))));
  return next(core, insn);
}

// A constant that is rounded as RC says, though never called inexact.
const Insn* loadConstant(Core& core, const Insn* insn, const Number& value) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  FloatContext c = x.context();
  pushExact(x, pack<Float80>(c, value));
  return next(core, insn);
}

// The first 128 bits of a positive number that begin with a 1.
constexpr Number constant(int exponent, uint64_t significand, uint64_t rest) {
  return {Number::Finite, false, false, exponent, significand, rest};
}

// ---- Stores ---------------------------------------------------------------------------------------------------------

constexpr uint32_t defaultNan(uint32_t) { return 0xffc00000; }
constexpr uint64_t defaultNan(uint64_t) { return 0xfff8000000000000; }

// What a store does with a value that f(context, number) makes of ST. All is decided before memory is written, and
// nothing is recorded before that is done.
template <bool kPop, typename Value, typename F>
const Insn* storeAs(Core& core, const Insn* insn, Value indefinite, F f) {
  X87 x(core, insn);
  if (!x.ready()) return stop(core, insn);
  FloatContext c = x.context();
  const bool missing = x.empty(0);
  Value value = indefinite;
  if (missing) {
    c.flags = fpe::IE;
  } else {
    value = f(c, unpack(c, x.st(0)));
  }
  const bool stores = !(c.unmasked() & ~fpe::PE);
  if (!stores) {  // not rounded either
    c.flags &= static_cast<uint8_t>(~fpe::PE);
    c.roundedUp = false;
  }
  if (stores ? !x.write(value) : !x.mayWrite<Value>()) return stop(core, insn);
  x.begin();
  if (missing) {
    x.underflow();
  } else {
    x.setC1(c.roundedUp);
    x.signal(c.flags);
  }
  if (stores && kPop) x.pop();
  return next(core, insn);
}

template <typename Bits, bool kPop>
const Insn* storeReal(Core& core, const Insn* insn) {
  return storeAs<kPop>(core, insn, defaultNan(Bits{}), [](FloatContext& c, const Number& n) {
    Number value = convert(c, n);
    c.flags &= static_cast<uint8_t>(~fpe::DE);  // of the destination's format only
    if (c.unmasked() & fpe::IE) return Bits{};
    return pack<Bits>(c, value);
  });
}

template <typename T, bool kPop, bool kTruncate>
const Insn* storeInteger(Core& core, const Insn* insn) {
  using Bits = std::make_unsigned_t<T>;
  constexpr auto kIndefinite = static_cast<Bits>(Bits{1} << (sizeof(T) * 8 - 1));
  return storeAs<kPop>(core, insn, kIndefinite, [](FloatContext& c, const Number& n) {
    if (kTruncate) c.rounding = Rounding::Zero;
    return static_cast<Bits>(toInteger(c, n, sizeof(T) * 8));
  });
}

// ---- Decimals: 18 digits, two in a byte, and a sign, in the places of a Float80 -------------------------------------

constexpr uint64_t kDecimalLimit = 1000000000000000000;
constexpr unsigned kDigits = 18;
constexpr Float80 kDecimalIndefinite = {0xc000000000000000, 0xffff};

uint8_t digit(Float80 decimal, unsigned n) {
  return (n < 16 ? decimal.significand >> 4 * n : static_cast<uint64_t>(decimal.signExponent) >> 4 * (n - 16)) & 15;
}

Float80 toDecimal(FloatContext& c, const Number& n) {
  const int64_t value = toInteger(c, n, 64);
  auto magnitude = static_cast<uint64_t>(value < 0 ? -(value + 1) : value) + (value < 0);
  if (magnitude >= kDecimalLimit) {
    c.flags = fpe::IE;
    c.roundedUp = false;
    return kDecimalIndefinite;
  }
  Float80 decimal = {0, static_cast<uint16_t>(n.negative << 15)};
  for (unsigned i = 0; i < kDigits; ++i, magnitude /= 10) {
    const uint64_t next = magnitude % 10;
    if (i < 16) {
      decimal.significand |= next << 4 * i;
    } else {
      decimal.signExponent = static_cast<uint16_t>(decimal.signExponent | next << 4 * (i - 16));
    }
  }
  return decimal;
}

// ---- FCMOV ----------------------------------------------------------------------------------------------------------

template <unsigned kCondition>
const Insn* conditionalMove(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.startKeepingC1()) return stop(core, insn);
  if (x.empty(0) || x.empty(x.operand())) {
    if (x.underflow()) x.set(0, kDefaultNan80);
  } else if (core.flags.test<kCondition>()) {
    x.set(0, x.st(x.operand()));
  }
  return next(core, insn);
}

template <bool kPop>
const Insn* storeRegister(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  const bool missing = x.empty(0);
  if (missing && !x.underflow()) return next(core, insn);
  x.set(x.operand(), missing ? kDefaultNan80 : x.st(0));
  if (kPop) x.pop();
  return next(core, insn);
}

}  // namespace

// By the operand's size: m16int, m32, m64.
V fldReal = {{{}, {}, {nullptr, loadReal<uint32_t>}, {nullptr, loadReal<uint64_t>}}},
  fstReal = {{{}, {}, {nullptr, storeReal<uint32_t, false>}, {nullptr, storeReal<uint64_t, false>}}},
  fstpReal = {{{}, {}, {nullptr, storeReal<uint32_t, true>}, {nullptr, storeReal<uint64_t, true>}}};
V fild = {{{}, {nullptr, loadInteger<int16_t>}, {nullptr, loadInteger<int32_t>}, {nullptr, loadInteger<int64_t>}}};
V fist = {{{}, {nullptr, storeInteger<int16_t, false, false>}, {nullptr, storeInteger<int32_t, false, false>}, {}}};
V fistp = {{{},
            {nullptr, storeInteger<int16_t, true, false>},
            {nullptr, storeInteger<int32_t, true, false>},
            {nullptr, storeInteger<int64_t, true, false>}}};
V fisttp = {{{},
             {nullptr, storeInteger<int16_t, true, true>},
             {nullptr, storeInteger<int32_t, true, true>},
             {nullptr, storeInteger<int64_t, true, true>}}};

const Insn* fldExtended(Core& core, const Insn* insn) {
  X87 x(core, insn);
  Float80 value;
  if (!x.ready() || !x.read(value)) return stop(core, insn);
  x.begin();
  pushExact(x, value);
  return next(core, insn);
}

const Insn* fstpExtended(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.ready()) return stop(core, insn);
  const bool missing = x.empty(0), stores = !missing || x.fpu.fcw & fpe::IE;
  if (stores ? !x.write(missing ? kDefaultNan80 : x.st(0)) : !x.mayWrite<Float80>()) return stop(core, insn);
  x.begin();
  if (missing) x.underflow();
  if (stores) x.pop();
  return next(core, insn);
}

const Insn* fbld(Core& core, const Insn* insn) {
  X87 x(core, insn);
  Float80 decimal;
  if (!x.ready() || !x.read(decimal)) return stop(core, insn);
  x.begin();
  uint64_t magnitude = 0;
  for (unsigned i = kDigits; i--;) magnitude = magnitude * 10 + digit(decimal, i);
  FloatContext c;
  pushExact(x, pack<Float80>(c, fromMagnitude(decimal.signExponent >> 15, magnitude)));
  return next(core, insn);
}

const Insn* fbstp(Core& core, const Insn* insn) { return storeAs<true>(core, insn, kDecimalIndefinite, toDecimal); }

const Insn* fldRegister(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (x.empty(x.operand())) {
    if (x.underflow()) x.push(kDefaultNan80);
  } else {
    pushExact(x, x.st(x.operand()));
  }
  return next(core, insn);
}

const Insn* fstRegister(Core& core, const Insn* insn) { return storeRegister<false>(core, insn); }
const Insn* fstpRegister(Core& core, const Insn* insn) { return storeRegister<true>(core, insn); }

// An alias of FSTP that nobody documents, for which an empty register is no exception.
const Insn* fstpnce(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (!x.empty(0)) x.set(x.operand(), x.st(0));
  x.pop();
  return next(core, insn);
}

const Insn* fxch(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  const unsigned i = x.operand();
  const bool missing = x.empty(0) || x.empty(i);
  if (missing && !x.underflow()) return next(core, insn);
  const Float80 first = x.empty(0) ? kDefaultNan80 : x.st(0), second = x.empty(i) ? kDefaultNan80 : x.st(i);
  x.set(0, second);
  x.set(i, first);
  return next(core, insn);
}

const Insn* fld1(Core& core, const Insn* insn) { return loadConstant(core, insn, constant(0, uint64_t{1} << 63, 0)); }
const Insn* fldz(Core& core, const Insn* insn) { return loadConstant(core, insn, zero(false)); }
const Insn* fldpi(Core& core, const Insn* insn) {
  return loadConstant(core, insn, constant(1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1));
}
const Insn* fldl2t(Core& core, const Insn* insn) {  // log2(10)
  return loadConstant(core, insn, constant(1, 0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4c));
}
const Insn* fldl2e(Core& core, const Insn* insn) {  // log2(e)
  return loadConstant(core, insn, constant(0, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88));
}
const Insn* fldlg2(Core& core, const Insn* insn) {  // log10(2)
  return loadConstant(core, insn, constant(-2, 0x9a209a84fbcff798, 0x8f8959ac0b7c9178));
}
const Insn* fldln2(Core& core, const Insn* insn) {  // ln(2)
  return loadConstant(core, insn, constant(-1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af));
}

const Insn* fcmovb(Core& core, const Insn* insn) { return conditionalMove<2>(core, insn); }
const Insn* fcmovnb(Core& core, const Insn* insn) { return conditionalMove<3>(core, insn); }
const Insn* fcmove(Core& core, const Insn* insn) { return conditionalMove<4>(core, insn); }
const Insn* fcmovne(Core& core, const Insn* insn) { return conditionalMove<5>(core, insn); }
const Insn* fcmovbe(Core& core, const Insn* insn) { return conditionalMove<6>(core, insn); }
const Insn* fcmovnbe(Core& core, const Insn* insn) { return conditionalMove<7>(core, insn); }
const Insn* fcmovu(Core& core, const Insn* insn) { return conditionalMove<10>(core, insn); }
const Insn* fcmovnu(Core& core, const Insn* insn) { return conditionalMove<11>(core, insn); }

const Insn* ffree(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  x.free(x.operand());
  return next(core, insn);
}
const Insn* ffreep(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  x.free(x.operand());
  x.pop();
  return next(core, insn);
}
const Insn* fincstp(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  x.rotate(1);
  return next(core, insn);
}
const Insn* fdecstp(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  x.rotate(-1);
  return next(core, insn);
}
const Insn* fnop(Core& core, const Insn* insn) {
  X87 x(core, insn);
  return x.startKeepingC1() ? next(core, insn) : stop(core, insn);
}

}  // namespace nvmm::cpu
