// x87: FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1.
#include "fpu.h"
#include "handlers.h"
#include "transcendental.h"

namespace nvmm::cpu {
namespace {

constexpr int kAngleLimit = 63;  // angles of 2^63 and beyond are refused with C2

// A result that was calculated counts as inexact even if it isn't, and so as an underflow if it is tiny.
Number calculated(FloatContext& c, const Number& result) {
  constexpr int kSmallestExponent = -16382;
  c.flags |= fpe::PE;
  if (result.kind == Number::Finite && result.exponent < kSmallestExponent) c.flags |= fpe::UE;
  return result;
}

// What the trigonometric functions have in common: the argument that needs no calculation. `zeroResult` is that of a
// zero. False: result is still to be calculated.
bool trigonometric(FloatContext& c, const Number& a, const Number& zeroResult, Number& result) {
  if (a.nan()) {
    result = propagateNan(c, a, a);
  } else if (a.kind == Number::Infinity) {
    result = invalid(c);
  } else if (a.kind == Number::Zero) {
    result = zeroResult;
  } else {
    if (a.denormal) c.flags |= fpe::DE;
    return false;
  }
  return true;
}

bool outOfRange(const Number& a) { return a.kind == Number::Finite && a.exponent >= kAngleLimit; }

// ST = f(ST)
template <typename F>
const Insn* replaceAngle(Core& core, const Insn* insn, F f) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (x.empty(0)) {
    x.setC2(false);
    if (x.underflow()) x.set(0, kDefaultNan80);
    return next(core, insn);
  }
  FloatContext c = x.context();
  const Number a = unpack(c, x.st(0));
  x.setC2(outOfRange(a));
  if (!outOfRange(a)) x.store(c, f(c, a), 0);
  return next(core, insn);
}

// ST = f(ST), and a second result is pushed.
template <typename F>
const Insn* replaceAngleAndPush(Core& core, const Insn* insn, F f) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (x.empty(0) || !x.empty(7)) {
    x.setC2(false);
    if (x.empty(0) ? x.underflow() : x.overflow()) {
      x.set(0, kDefaultNan80);
      x.push(kDefaultNan80);
    }
    return next(core, insn);
  }
  FloatContext c = x.context();
  const Number a = unpack(c, x.st(0));
  x.setC2(outOfRange(a));
  if (outOfRange(a)) return next(core, insn);
  Number first, second;
  f(c, a, first, second);
  if (x.store(c, first, 0)) {
    x.push(pack<Float80>(c, second));
    x.signal(c.flags);
  }
  return next(core, insn);
}

// ST(1) = f(ST(1), ST), pop
template <typename F>
const Insn* combine(Core& core, const Insn* insn, F f) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  bool done;
  if (x.empty(0) || x.empty(1)) {
    done = x.underflow();
    if (done) x.set(1, kDefaultNan80);
  } else {
    FloatContext c = x.context();
    const Number a = unpack(c, x.st(1)), b = unpack(c, x.st(0));
    Number result;
    if (a.nan() || b.nan()) {
      result = propagateNan(c, a, b);
    } else {
      result = f(c, a, b);
      if (a.denormal || b.denormal) c.flags |= c.flags & (fpe::IE | fpe::ZE) ? 0 : fpe::DE;
    }
    done = x.store(c, result, 1);
  }
  if (done) x.pop();
  return next(core, insn);
}

Number one() { return fromInteger(1); }

}  // namespace

const Insn* fsin(Core& core, const Insn* insn) {
  return replaceAngle(core, insn, [](FloatContext& c, const Number& a) {
    Number result;
    return trigonometric(c, a, a, result) ? result : calculated(c, sineCosine(a).sine);
  });
}

const Insn* fcos(Core& core, const Insn* insn) {
  return replaceAngle(core, insn, [](FloatContext& c, const Number& a) {
    Number result;
    return trigonometric(c, a, one(), result) ? result : calculated(c, sineCosine(a).cosine);
  });
}

const Insn* fsincos(Core& core, const Insn* insn) {
  return replaceAngleAndPush(core, insn, [](FloatContext& c, const Number& a, Number& sine, Number& cosine) {
    if (trigonometric(c, a, a, sine)) {
      cosine = a.kind == Number::Zero ? one() : sine;
    } else {
      const SineCosine both = sineCosine(a);
      sine = calculated(c, both.sine);
      cosine = both.cosine;
    }
  });
}

const Insn* fptan(Core& core, const Insn* insn) {
  return replaceAngleAndPush(core, insn, [](FloatContext& c, const Number& a, Number& result, Number& second) {
    if (!trigonometric(c, a, a, result)) result = calculated(c, tangent(a));
    second = a.nan() || a.kind == Number::Infinity ? result : one();
  });
}

const Insn* fpatan(Core& core, const Insn* insn) {
  return combine(core, insn, [](FloatContext& c, const Number& y, const Number& x) {
    if (y.kind == Number::Infinity) {
      const Angle angle = x.kind != Number::Infinity ? Angle::Half : x.negative ? Angle::ThreeQuarters : Angle::Quarter;
      return partOfPi(angle, y.negative);
    }
    if (x.kind == Number::Infinity || y.kind == Number::Zero) {
      return x.negative ? partOfPi(Angle::Whole, y.negative) : zero(y.negative);
    }
    if (x.kind == Number::Zero) return partOfPi(Angle::Half, y.negative);
    return calculated(c, arctangent(y, x));
  });
}

const Insn* f2xm1(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!x.start()) return stop(core, insn);
  if (x.empty(0)) {
    if (x.underflow()) x.set(0, kDefaultNan80);
    return next(core, insn);
  }
  FloatContext c = x.context();
  const Number a = unpack(c, x.st(0));
  Number result = convert(c, a);
  if (a.kind == Number::Infinity && a.negative) {
    result = fromInteger(-1);
  } else if (a.kind == Number::Finite) {
    const bool defined = a.exponent < 0 || (a.exponent == 0 && a.significand << 1 == 0);
    result = calculated(c, defined ? exponentialMinus1(a) : a);
  }
  x.store(c, result, 0);
  return next(core, insn);
}

const Insn* fyl2x(Core& core, const Insn* insn) {
  return combine(core, insn, [](FloatContext& c, const Number& y, const Number& x) {
    if (x.kind == Number::Zero) {
      if (y.kind == Number::Zero) return invalid(c);
      if (y.kind == Number::Finite) c.flags |= fpe::ZE;
      return infinity(!y.negative);
    }
    if (x.negative) return invalid(c);
    const bool isOne = x.kind == Number::Finite && x.exponent == 0 && x.significand << 1 == 0;
    const bool below1 = x.kind == Number::Finite && x.exponent < 0;
    if (x.kind == Number::Infinity || isOne || y.kind != Number::Finite) {
      Number logarithm = isOne ? zero(false) : x.kind == Number::Infinity ? infinity(false) : one();
      logarithm.negative = below1;
      return multiply(c, y, logarithm);
    }
    return calculated(c, multiplyLog2(y, x));
  });
}

const Insn* fyl2xp1(Core& core, const Insn* insn) {
  return combine(core, insn, [](FloatContext& c, const Number& y, const Number& x) {
    if (x.kind == Number::Infinity && x.negative) return invalid(c);
    if (x.kind == Number::Finite && x.negative && x.exponent >= 0) return calculated(c, x);  // undefined
    if (x.kind != Number::Finite || y.kind != Number::Finite) {
      Number logarithm = x.kind == Number::Finite ? one() : x;
      logarithm.negative = x.negative;
      return multiply(c, y, logarithm);
    }
    return calculated(c, multiplyLog2Plus1(y, x));
  });
}

}  // namespace nvmm::cpu
