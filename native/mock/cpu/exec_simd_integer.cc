// MMX, SSE2 and later: arithmetic, logic and shifts of packed integers.
#include <algorithm>
#include <type_traits>

#include "handlers.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

// ---- Lane by lane ---------------------------------------------------------------------------------------------------

template <typename T, class F>
struct Lanewise {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    return mapLanes<T>(a, b, [](T x, T y) { return static_cast<T>(F{}(x, y)); });
  }
};
template <typename T, class F>
constexpr Variants lanewise() {
  return mmxAndSse<Lanewise<T, F>>();
}

struct Add {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Sub {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct AddSaturated {
  template <typename T>
  T operator()(T a, T b) const {
    return saturate<T>(a + b);
  }
};
struct SubSaturated {
  template <typename T>
  T operator()(T a, T b) const {
    return saturate<T>(a - b);
  }
};
struct Equal {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a == b ? -1 : 0);
  }
};
struct Greater {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a > b ? -1 : 0);
  }
};
struct Min {
  template <typename T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Max {
  template <typename T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
struct Average {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>((a + b + 1) >> 1);
  }
};
struct And {
  uint64_t operator()(uint64_t a, uint64_t b) const { return a & b; }
};
struct AndNot {
  uint64_t operator()(uint64_t a, uint64_t b) const { return ~a & b; }
};
struct Or {
  uint64_t operator()(uint64_t a, uint64_t b) const { return a | b; }
};
struct Xor {
  uint64_t operator()(uint64_t a, uint64_t b) const { return a ^ b; }
};
struct MultiplyLow {
  uint16_t operator()(uint16_t a, uint16_t b) const { return static_cast<uint16_t>(uint32_t{a} * b); }
};
struct MultiplyHigh {
  int16_t operator()(int16_t a, int16_t b) const { return static_cast<int16_t>(a * b >> 16); }
};
struct MultiplyHighUnsigned {
  uint16_t operator()(uint16_t a, uint16_t b) const { return static_cast<uint16_t>(uint32_t{a} * b >> 16); }
};
struct MultiplyEven {  // the low halves of 64 bits
  uint64_t operator()(uint64_t a, uint64_t b) const { return (a & 0xffffffff) * (b & 0xffffffff); }
};
struct MultiplyAdd {  // two products of 16 bits, added
  uint32_t operator()(uint32_t a, uint32_t b) const {
    auto low = [](uint32_t v) { return static_cast<int32_t>(static_cast<int16_t>(v)); };
    return static_cast<uint32_t>(low(a) * low(b)) + static_cast<uint32_t>(low(a >> 16) * low(b >> 16));
  }
};
struct SumOfDifferences {  // of eight bytes
  uint64_t operator()(uint64_t a, uint64_t b) const {
    const auto x = lanes<uint8_t>(a), y = lanes<uint8_t>(b);
    uint64_t sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += static_cast<unsigned>(x[i] > y[i] ? x[i] - y[i] : y[i] - x[i]);
    return sum;
  }
};

// ---- Shifts ---------------------------------------------------------------------------------------------------------

struct ShiftLeft {
  template <typename T>
  static T shift(T value, uint64_t count) {
    return count < sizeof(T) * 8 ? static_cast<T>(value << count) : 0;
  }
};
struct ShiftRight {
  template <typename T>
  static T shift(T value, uint64_t count) {
    return count < sizeof(T) * 8 ? static_cast<T>(value >> count) : 0;
  }
};
struct ShiftArithmetic {
  template <typename T>
  static T shift(T value, uint64_t count) {
    return static_cast<T>(static_cast<std::make_signed_t<T>>(value) >> std::min<uint64_t>(count, sizeof(T) * 8 - 1));
  }
};

template <typename T, class Shift, class Raw>
Raw shiftLanes(const Raw& value, uint64_t count) {
  auto x = lanes<T>(value);
  for (T& lane : x) lane = Shift::template shift<T>(lane, count);
  return fromLanes<Raw>(x);
}

// By the low 64 bits of Q or W.
template <typename T, class Shift>
struct ShiftBy {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    return shiftLanes<T, Shift>(a, lanes<uint64_t>(b)[0]);
  }
};
// N or U by an immediate.
template <typename T, class Shift, class Raw>
struct ShiftImmediate {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    begin<Raw>(core);
    put<Raw>(core, insn->rm, shiftLanes<T, Shift>(get<Raw>(core, insn->rm), static_cast<uint8_t>(insn->imm)));
    return next(core, insn);
  }
};
template <typename T, class Shift>
constexpr Variants shiftImmediate() {
  return byPrefix<ShiftImmediate<T, Shift, Mmx>, ShiftImmediate<T, Shift, Xmm>>();
}

// PSLLDQ, PSRLDQ: by bytes
template <bool kLeft>
struct ShiftBytes {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    const unsigned count = std::min<unsigned>(static_cast<uint8_t>(insn->imm), sizeof(Xmm));
    const auto from = lanes<uint8_t>(get<Xmm>(core, insn->rm));
    Lanes<uint8_t, Xmm> to{};
    for (unsigned i = 0; i + count < to.size(); ++i) to[kLeft ? i + count : i] = from[kLeft ? i : i + count];
    put<Xmm>(core, insn->rm, fromLanes<Xmm>(to));
    return next(core, insn);
  }
};

}  // namespace

V paddb = lanewise<uint8_t, Add>(), paddw = lanewise<uint16_t, Add>(), paddd = lanewise<uint32_t, Add>(),
  paddq = lanewise<uint64_t, Add>();
V psubb = lanewise<uint8_t, Sub>(), psubw = lanewise<uint16_t, Sub>(), psubd = lanewise<uint32_t, Sub>(),
  psubq = lanewise<uint64_t, Sub>();
V paddsb = lanewise<int8_t, AddSaturated>(), paddsw = lanewise<int16_t, AddSaturated>(),
  paddusb = lanewise<uint8_t, AddSaturated>(), paddusw = lanewise<uint16_t, AddSaturated>();
V psubsb = lanewise<int8_t, SubSaturated>(), psubsw = lanewise<int16_t, SubSaturated>(),
  psubusb = lanewise<uint8_t, SubSaturated>(), psubusw = lanewise<uint16_t, SubSaturated>();
V pcmpeqb = lanewise<uint8_t, Equal>(), pcmpeqw = lanewise<uint16_t, Equal>(), pcmpeqd = lanewise<uint32_t, Equal>();
V pcmpgtb = lanewise<int8_t, Greater>(), pcmpgtw = lanewise<int16_t, Greater>(), pcmpgtd = lanewise<int32_t, Greater>();
V pminub = lanewise<uint8_t, Min>(), pmaxub = lanewise<uint8_t, Max>(), pminsw = lanewise<int16_t, Min>(),
  pmaxsw = lanewise<int16_t, Max>();
V pavgb = lanewise<uint8_t, Average>(), pavgw = lanewise<uint16_t, Average>();
V pand = lanewise<uint64_t, And>(), pandn = lanewise<uint64_t, AndNot>(), por = lanewise<uint64_t, Or>(),
  pxor = lanewise<uint64_t, Xor>();
V pmullw = lanewise<uint16_t, MultiplyLow>(), pmulhw = lanewise<int16_t, MultiplyHigh>(),
  pmulhuw = lanewise<uint16_t, MultiplyHighUnsigned>(), pmuludq = lanewise<uint64_t, MultiplyEven>(),
  pmaddwd = lanewise<uint32_t, MultiplyAdd>(), psadbw = lanewise<uint64_t, SumOfDifferences>();

V psllw = mmxAndSse<ShiftBy<uint16_t, ShiftLeft>>(), pslld = mmxAndSse<ShiftBy<uint32_t, ShiftLeft>>(),
  psllq = mmxAndSse<ShiftBy<uint64_t, ShiftLeft>>(), psrlw = mmxAndSse<ShiftBy<uint16_t, ShiftRight>>(),
  psrld = mmxAndSse<ShiftBy<uint32_t, ShiftRight>>(), psrlq = mmxAndSse<ShiftBy<uint64_t, ShiftRight>>(),
  psraw = mmxAndSse<ShiftBy<uint16_t, ShiftArithmetic>>(), psrad = mmxAndSse<ShiftBy<uint32_t, ShiftArithmetic>>();
V psllwI = shiftImmediate<uint16_t, ShiftLeft>(), pslldI = shiftImmediate<uint32_t, ShiftLeft>(),
  psllqI = shiftImmediate<uint64_t, ShiftLeft>(), psrlwI = shiftImmediate<uint16_t, ShiftRight>(),
  psrldI = shiftImmediate<uint32_t, ShiftRight>(), psrlqI = shiftImmediate<uint64_t, ShiftRight>(),
  psrawI = shiftImmediate<uint16_t, ShiftArithmetic>(), psradI = shiftImmediate<uint32_t, ShiftArithmetic>();
V pslldq = byPrefix<Absent, ShiftBytes<true>>(), psrldq = byPrefix<Absent, ShiftBytes<false>>();

}  // namespace nvmm::cpu
