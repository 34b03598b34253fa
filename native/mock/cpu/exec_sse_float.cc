// SSE, SSE2 and later: floating-point arithmetic and comparison.
#include <optional>
#include <utility>

#include "handlers.h"
#include "sse_float.h"

namespace nvmm::cpu {
namespace {

constexpr size_t kScalar = 1;
template <typename Bits>
constexpr size_t kPacked = sizeof(Xmm) / sizeof(Bits);

// The source operand as lanes: kCount is 1 for a scalar, of which only so much is read.
template <typename Bits, size_t kCount, Where kWhere>
inline bool startFloat(Core& core, const Insn* insn, Lanes<Bits, Xmm>& b) {
  if constexpr (kCount == kScalar) return startScalar<Bits, kWhere>(core, insn, b[0]);
  Xmm source;
  if (!start<Xmm, kWhere>(core, insn, source)) return false;
  b = lanes<Bits>(source);
  return true;
}

// ---- Arithmetic -----------------------------------------------------------------------------------------------------

struct Add {
  static Number exact(FloatContext& c, const Number& a, const Number& b) { return add(c, a, b); }
  template <typename F>
  static F host(F a, F b) {
    return a + b;
  }
};
struct Sub {
  static Number exact(FloatContext& c, const Number& a, const Number& b) { return subtract(c, a, b); }
  template <typename F>
  static F host(F a, F b) {
    return a - b;
  }
};
struct Mul {
  static Number exact(FloatContext& c, const Number& a, const Number& b) { return multiply(c, a, b); }
  template <typename F>
  static F host(F a, F b) {
    return a * b;
  }
};
struct Div {
  static Number exact(FloatContext& c, const Number& a, const Number& b) { return divide(c, a, b); }
  template <typename F>
  static F host(F a, F b) {
    return a / b;
  }
};
struct Sqrt {
  static Number exact(FloatContext& c, const Number&, const Number& b) { return squareRoot(c, b); }
  static float host(float, float b) { return __builtin_sqrtf(b); }
  static double host(double, double b) { return __builtin_sqrt(b); }
};

template <typename Bits>
using Floats = Lanes<Bits, Xmm>;

// What is done exactly stands apart from the handlers, and takes their values but not their addresses: so they can jump
// to the next instruction.

// Exceptions of the operands come before those of the results: if one of them is not masked there are no results.
template <class Op, typename Bits, size_t kCount>
__attribute__((noinline)) bool computeExactly(Core& core, Floats<Bits>& a, const Floats<Bits>& b) {
  FloatContext c = sseContext(core);
  Number results[kCount];
  for (size_t i = 0; i < kCount; ++i) results[i] = Op::exact(c, unpack(c, a[i]), unpack(c, b[i]));
  if (!(c.unmasked() & fpe::kBeforeOperation)) {
    for (size_t i = 0; i < kCount; ++i) a[i] = pack<Bits>(c, results[i]);
  }
  return signal(core, c);
}
template <class Op, typename Bits, size_t kCount>
__attribute__((noinline)) bool computeExactlyTo(Core& core, unsigned to, Floats<Bits> a, Floats<Bits> b) {
  if (!computeExactly<Op, Bits, kCount>(core, a, b)) return false;
  put<Xmm>(core, to, fromLanes<Xmm>(a));
  return true;
}

// False: the host's arithmetic might not do.
template <class Op, typename Bits, size_t kCount>
inline bool computeOnHost(const Core& core, Floats<Bits>& a, const Floats<Bits>& b) {
  if (!hostRounds(core)) return false;
  bool good = true;
  Floats<Bits> result = a;
  for (size_t i = 0; i < kCount; ++i) {
    result[i] = fromHost<Bits>(Op::host(toHost(a[i]), toHost(b[i])));
    good = good && (std::is_same_v<Op, Sqrt> || isNormal(a[i])) && isNormal(b[i]) && isSafelyNormal(result[i]);
  }
  if (good) a = result;
  return good;
}
// Not inlined: a compiler that sees two of them might fuse a product and a sum.
template <class Op, typename Bits, size_t kCount>
__attribute__((noinline)) bool compute(Core& core, Floats<Bits>& a, const Floats<Bits>& b) {
  return computeOnHost<Op, Bits, kCount>(core, a, b) || computeExactly<Op, Bits, kCount>(core, a, b);
}

template <class Op, typename Bits, size_t kCount>
struct Arithmetic {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Floats<Bits> b;
    if (!startFloat<Bits, kCount, kWhere>(core, insn, b)) return stop(core, insn);
    auto a = lanes<Bits>(get<Xmm>(core, insn->reg));
    if (computeOnHost<Op, Bits, kCount>(core, a, b)) {
      put<Xmm>(core, insn->reg, fromLanes<Xmm>(a));
    } else if (!computeExactlyTo<Op, Bits, kCount>(core, insn->reg, a, b)) {
      return stop(core, insn);
    }
    return next(core, insn);
  }
};

// ---- Comparisons ----------------------------------------------------------------------------------------------------

// Of numbers that are not the cause of any exception.
template <typename Bits>
inline Order hostOrder(Bits a, Bits b) {
  const auto x = toHost(a), y = toHost(b);
  return x < y ? Order::Less : x == y ? Order::Equal : Order::Greater;
}

// f(context, a, b) on each lane.
template <typename Bits, size_t kCount, class F>
__attribute__((noinline)) bool eachLaneTo(Core& core, unsigned to, Floats<Bits> a, Floats<Bits> b, F f) {
  FloatContext c = sseContext(core);
  for (size_t i = 0; i < kCount; ++i) a[i] = f(c, a[i], b[i]);
  if (c.unmasked() & fpe::kBeforeOperation) c.flags &= fpe::kBeforeOperation;
  if (!signal(core, c)) return false;
  put<Xmm>(core, to, fromLanes<Xmm>(a));
  return true;
}

// f(order of a and b, a, b) on each lane.
template <typename Bits, size_t kCount, Where kWhere, class F>
inline const Insn* byOrder(Core& core, const Insn* insn, bool quiet, F f) {
  Floats<Bits> b;
  if (!startFloat<Bits, kCount, kWhere>(core, insn, b)) return stop(core, insn);
  auto a = lanes<Bits>(get<Xmm>(core, insn->reg));
  bool plain = true;
  for (size_t i = 0; i < kCount; ++i) plain = plain && isNormalOrZero(a[i]) && isNormalOrZero(b[i]);
  if (plain) {
    for (size_t i = 0; i < kCount; ++i) a[i] = f(hostOrder(a[i], b[i]), a[i], b[i]);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(a));
    return next(core, insn);
  }
  auto exact = [quiet, f](FloatContext& c, Bits x, Bits y) {
    const Order order = compare(c, unpack(c, x), unpack(c, y), quiet);
    return f(order, daz(c, x), daz(c, y));
  };
  return eachLaneTo<Bits, kCount>(core, insn->reg, a, b, exact) ? next(core, insn) : stop(core, insn);
}

// The source, unless a is strictly on the wanted side: also of NaNs and of zeros.
template <Order kWanted, typename Bits, size_t kCount>
struct Extreme {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    auto choose = [](Order order, Bits a, Bits b) { return order == kWanted ? a : b; };
    return byOrder<Bits, kCount, kWhere>(core, insn, false, choose);
  }
};

// CMPPS ... by the predicate in the immediate.
template <typename Bits, size_t kCount>
struct Compare {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    const unsigned predicate = insn->imm & 7;
    const bool quiet = (predicate & 3) == 0 || (predicate & 3) == 3;
    return byOrder<Bits, kCount, kWhere>(core, insn, quiet, [predicate](Order order, Bits, Bits) {
      constexpr unsigned kLess = 1, kEqual = 2, kUnordered = 8;  // by Order
      constexpr unsigned kOrders[] = {kEqual, kLess, kLess | kEqual, kUnordered};
      const bool holds = kOrders[predicate & 3] >> static_cast<unsigned>(order) & 1;
      return static_cast<Bits>(holds != (predicate >= 4) ? ~Bits{0} : 0);
    });
  }
};

// Nothing: #XM.
template <typename Bits>
__attribute__((noinline)) std::optional<Order> orderExactly(Core& core, Bits a, Bits b, bool quiet) {
  FloatContext c = sseContext(core);
  const Order order = compare(c, unpack(c, a), unpack(c, b), quiet);
  return signal(core, c) ? std::optional(order) : std::nullopt;
}

// COMIS, UCOMIS: to ZF, PF, CF; the others are cleared.
template <typename Bits, bool kQuiet>
struct CompareToFlags {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Bits b;
    if (!startScalar<Bits, kWhere>(core, insn, b)) return stop(core, insn);
    const Bits a = lanes<Bits>(get<Xmm>(core, insn->reg))[0];
    const bool plain = isNormalOrZero(a) && isNormalOrZero(b);
    const std::optional<Order> order = plain ? hostOrder(a, b) : orderExactly(core, a, b, kQuiet);
    if (!order) return stop(core, insn);
    core.flags.set(orderFlags(*order));
    return next(core, insn);
  }
};

// ---- Approximations -------------------------------------------------------------------------------------------------

// The manuals allow a relative error of 1.5 * 2^-12, and no exceptions. This is what Intel's processors do: of the
// middle of an interval, which the upper bits of the significand name, the value to 13 bits.
template <unsigned kIntervalBits>
double middle(uint32_t bits) {
  constexpr uint32_t kHalf = 1u << (22 - kIntervalBits);
  return toHost<uint32_t>((bits & ~(2 * kHalf - 1)) | kHalf);
}

constexpr uint32_t kSign = 0x80000000, kInfinity = 0x7f800000, kQuietBit = 0x00400000, kDefaultNan32 = 0xffc00000;

// Denormals count as zeros, of operands and of results.
uint32_t approximated(double value) {
  constexpr uint64_t kUnit = uint64_t{1} << (53 - 13);
  const double rounded = toHost<uint64_t>((fromHost<uint64_t>(value) + kUnit / 2) & ~(kUnit - 1));
  const auto result = fromHost<uint32_t>(static_cast<float>(rounded));
  return exponentOf(result) ? result : result & kSign;
}
uint32_t reciprocal(uint32_t bits) {
  if (bits << 1 > kInfinity << 1) return bits | kQuietBit;
  if (!exponentOf(bits)) return (bits & kSign) | kInfinity;
  return bits << 1 == kInfinity << 1 ? bits & kSign : approximated(1 / middle<11>(bits));
}
uint32_t reciprocalRoot(uint32_t bits) {
  if (bits << 1 > kInfinity << 1) return bits | kQuietBit;
  if (!exponentOf(bits)) return (bits & kSign) | kInfinity;
  if (bits & kSign) return kDefaultNan32;
  return bits == kInfinity ? 0 : approximated(1 / __builtin_sqrt(middle<10>(bits)));
}

template <uint32_t (*kFunction)(uint32_t), size_t kCount>
struct Approximate {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Lanes<uint32_t, Xmm> b;
    if (!startFloat<uint32_t, kCount, kWhere>(core, insn, b)) return stop(core, insn);
    auto a = lanes<uint32_t>(get<Xmm>(core, insn->reg));
    for (size_t i = 0; i < kCount; ++i) a[i] = kFunction(b[i]);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(a));
    return next(core, insn);
  }
};

// ---- Horizontal arithmetic (SSE3) -----------------------------------------------------------------------------------

// Pairs of a and then of b.
template <class Op, typename Bits>
struct Horizontal {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Lanes<Bits, Xmm> a, b, even, odd;
    if (!startFloat<Bits, kPacked<Bits>, kWhere>(core, insn, b)) return stop(core, insn);
    a = lanes<Bits>(get<Xmm>(core, insn->reg));
    constexpr size_t kPairs = kPacked<Bits> / 2;
    for (size_t i = 0; i < kPairs; ++i) {
      even[i] = a[2 * i], odd[i] = a[2 * i + 1];
      even[kPairs + i] = b[2 * i], odd[kPairs + i] = b[2 * i + 1];
    }
    if (!compute<Op, Bits, kPacked<Bits>>(core, even, odd)) return stop(core, insn);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(even));
    return next(core, insn);
  }
};

// Even lanes are subtracted, odd ones added.
template <typename Bits>
struct AddSub {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Lanes<Bits, Xmm> b;
    if (!startFloat<Bits, kPacked<Bits>, kWhere>(core, insn, b)) return stop(core, insn);
    auto a = lanes<Bits>(get<Xmm>(core, insn->reg));
    FloatContext c = sseContext(core);
    Number results[kPacked<Bits>];
    for (size_t i = 0; i < a.size(); ++i) {
      const Number x = unpack(c, a[i]), y = unpack(c, b[i]);
      results[i] = i & 1 ? add(c, x, y) : subtract(c, x, y);
    }
    if (!(c.unmasked() & fpe::kBeforeOperation)) {
      for (size_t i = 0; i < a.size(); ++i) a[i] = pack<Bits>(c, results[i]);
    }
    if (!signal(core, c)) return stop(core, insn);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(a));
    return next(core, insn);
  }
};

// ---- SSE4.1 ---------------------------------------------------------------------------------------------------------

// By the immediate: bits 0 and 1 are RC, unless bit 2 says MXCSR's; bit 3 suppresses PE.
template <typename Bits, size_t kCount>
struct Round {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Floats<Bits> b;
    if (!startFloat<Bits, kCount, kWhere>(core, insn, b)) return stop(core, insn);
    const auto control = static_cast<uint8_t>(insn->imm);
    auto round = [control](FloatContext& c, Bits, Bits x) {
      FloatContext own = c;
      own.flags = 0;
      if (!(control & 4)) own.rounding = static_cast<Rounding>(control & 3);
      const Bits result = pack<Bits>(own, roundToInteger(own, unpack(own, x)));
      c.flags |= own.flags & (control & 8 ? fpe::IE : fpe::IE | fpe::PE);
      return result;
    };
    const auto a = lanes<Bits>(get<Xmm>(core, insn->reg));
    return eachLaneTo<Bits, kCount>(core, insn->reg, a, b, round) ? next(core, insn) : stop(core, insn);
  }
};

// The products of the lanes that the upper half of the immediate selects, added in pairs, to the lanes that the lower
// half selects. Each step has its exceptions.
template <typename Bits>
struct DotProduct {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Lanes<Bits, Xmm> a, b, other{};
    if (!startFloat<Bits, kPacked<Bits>, kWhere>(core, insn, b)) return stop(core, insn);
    a = lanes<Bits>(get<Xmm>(core, insn->reg));
    for (size_t i = 0; i < a.size(); ++i) {
      if (!(insn->imm >> (4 + i) & 1)) a[i] = b[i] = 0;
    }
    if (!compute<Mul, Bits, kPacked<Bits>>(core, a, b)) return stop(core, insn);
    for (size_t width = 1; width < a.size(); width *= 2) {
      for (size_t i = 0; i < a.size(); ++i) other[i] = a[i ^ width];
      // Which NaN comes first makes a difference.
      if (width == 1 && std::is_same_v<Bits, uint32_t>) std::swap(a, other);
      if (!compute<Add, Bits, kPacked<Bits>>(core, a, other)) return stop(core, insn);
    }
    for (size_t i = 0; i < a.size(); ++i) {
      if (!(insn->imm >> i & 1)) a[i] = 0;
    }
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(a));
    return next(core, insn);
  }
};

// The four forms of an operation: PS, PD, SS, SD.
template <template <typename, size_t> class Form>
constexpr Variants fourForms() {
  return byPrefix<Form<uint32_t, kPacked<uint32_t>>, Form<uint64_t, kPacked<uint64_t>>, Form<uint32_t, kScalar>,
                  Form<uint64_t, kScalar>>();
}
template <class Op>
struct Of {
  template <typename Bits, size_t kCount>
  using Form = Arithmetic<Op, Bits, kCount>;
};
template <typename Bits, size_t kCount>
using Minimum = Extreme<Order::Less, Bits, kCount>;
template <typename Bits, size_t kCount>
using Maximum = Extreme<Order::Greater, Bits, kCount>;

}  // namespace

V addps = fourForms<Of<Add>::Form>(), subps = fourForms<Of<Sub>::Form>(), mulps = fourForms<Of<Mul>::Form>(),
  divps = fourForms<Of<Div>::Form>(), sqrtps = fourForms<Of<Sqrt>::Form>();
V minps = fourForms<Minimum>(), maxps = fourForms<Maximum>(), cmpps = fourForms<Compare>();
V ucomiss = byPrefix<CompareToFlags<uint32_t, true>, CompareToFlags<uint64_t, true>>(),
  comiss = byPrefix<CompareToFlags<uint32_t, false>, CompareToFlags<uint64_t, false>>();
V rcpps = byPrefix<Approximate<reciprocal, 4>, Absent, Approximate<reciprocal, kScalar>>(),
  rsqrtps = byPrefix<Approximate<reciprocalRoot, 4>, Absent, Approximate<reciprocalRoot, kScalar>>();
V haddps = byPrefix<Absent, Horizontal<Add, uint64_t>, Absent, Horizontal<Add, uint32_t>>(),
  hsubps = byPrefix<Absent, Horizontal<Sub, uint64_t>, Absent, Horizontal<Sub, uint32_t>>(),
  addsubps = byPrefix<Absent, AddSub<uint64_t>, Absent, AddSub<uint32_t>>();
V roundps = byPrefix<Absent, Round<uint32_t, 4>>(), roundpd = byPrefix<Absent, Round<uint64_t, 2>>(),
  roundss = byPrefix<Absent, Round<uint32_t, kScalar>>(), roundsd = byPrefix<Absent, Round<uint64_t, kScalar>>();
V dpps = byPrefix<Absent, DotProduct<uint32_t>>(), dppd = byPrefix<Absent, DotProduct<uint64_t>>();

}  // namespace nvmm::cpu
