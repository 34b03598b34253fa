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

struct MultiplyLow32 {
  uint32_t operator()(uint32_t a, uint32_t b) const { return a * b; }
};
struct MultiplyEvenSigned {
  uint64_t operator()(uint64_t a, uint64_t b) const {
    return static_cast<uint64_t>(int64_t{static_cast<int32_t>(a)} * static_cast<int32_t>(b));
  }
};
struct MultiplyAddBytes {  // two products of an unsigned and a signed byte, added
  int16_t operator()(int16_t a, int16_t b) const {
    auto product = [](int x, int y) { return static_cast<uint8_t>(x) * static_cast<int8_t>(y); };
    return saturate<int16_t>(product(a, b) + product(a >> 8, b >> 8));
  }
};
struct MultiplyHighRounded {
  int16_t operator()(int16_t a, int16_t b) const { return static_cast<int16_t>(((a * b >> 14) + 1) >> 1); }
};
struct Sign {  // a with the sign of b
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(b < 0 ? 0u - static_cast<unsigned>(a) : b ? static_cast<unsigned>(a) : 0u);
  }
};
struct Absolute {  // of b
  template <typename T>
  T operator()(T, T b) const {
    return static_cast<T>(b < 0 ? 0u - static_cast<unsigned>(b) : static_cast<unsigned>(b));
  }
};

// ---- Across lanes ---------------------------------------------------------------------------------------------------

// The pairs of a and then of b.
template <typename T, class F>
struct Horizontal {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto x = lanes<T>(a), y = lanes<T>(b);
    Lanes<T, Raw> result;
    const size_t pairs = x.size() / 2;
    for (size_t i = 0; i < pairs; ++i) {
      result[i] = F{}(x[2 * i], x[2 * i + 1]);
      result[pairs + i] = F{}(y[2 * i], y[2 * i + 1]);
    }
    return fromLanes<Raw>(result);
  }
};

// The smallest word and its place.
struct MinimumPosition {
  static Xmm apply(const Xmm&, const Xmm& b) {
    const auto x = lanes<uint16_t>(b);
    const auto smallest = std::min_element(x.begin(), x.end());
    return {{*smallest | static_cast<uint64_t>(smallest - x.begin()) << 16, 0}};
  }
};

// Eight sums of absolute differences between four bytes of b and those at eight successive places of a.
struct MultipleSums {
  static Xmm apply(const Xmm& a, const Xmm& b, uint8_t control) {
    const auto x = lanes<uint8_t>(a), y = lanes<uint8_t>(b);
    const size_t fromA = control & 4, fromB = (control & 3) * 4;
    Lanes<uint16_t, Xmm> sums{};
    for (size_t i = 0; i < sums.size(); ++i) {
      for (size_t j = 0; j < 4; ++j) {
        const int difference = x[fromA + i + j] - y[fromB + j];
        sums[i] = static_cast<uint16_t>(sums[i] + (difference < 0 ? -difference : difference));
      }
    }
    return fromLanes<Xmm>(sums);
  }
};

// ZF: V and W have no common bit; CF: V has all of W's.
struct Test {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Xmm b;
    if (!start<Xmm, kWhere>(core, insn, b)) return stop(core, insn);
    const Xmm a = get<Xmm>(core, insn->reg);
    const bool disjoint = !((a.lane[0] & b.lane[0]) | (a.lane[1] & b.lane[1]));
    const bool contained = !((~a.lane[0] & b.lane[0]) | (~a.lane[1] & b.lane[1]));
    core.flags.set((disjoint ? kZF : 0) | (contained ? kCF : 0));
    return next(core, insn);
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

// On floating-point registers
V andps = sseOnly<Lanewise<uint64_t, And>>(), andnps = sseOnly<Lanewise<uint64_t, AndNot>>(),
  orps = sseOnly<Lanewise<uint64_t, Or>>(), xorps = sseOnly<Lanewise<uint64_t, Xor>>();

// SSSE3
V phaddw = mmxAndSse<Horizontal<uint16_t, Add>>(), phaddd = mmxAndSse<Horizontal<uint32_t, Add>>(),
  phaddsw = mmxAndSse<Horizontal<int16_t, AddSaturated>>(), phsubw = mmxAndSse<Horizontal<uint16_t, Sub>>(),
  phsubd = mmxAndSse<Horizontal<uint32_t, Sub>>(), phsubsw = mmxAndSse<Horizontal<int16_t, SubSaturated>>();
V pmaddubsw = lanewise<int16_t, MultiplyAddBytes>(), pmulhrsw = lanewise<int16_t, MultiplyHighRounded>();
V psignb = lanewise<int8_t, Sign>(), psignw = lanewise<int16_t, Sign>(), psignd = lanewise<int32_t, Sign>();
V pabsb = lanewise<int8_t, Absolute>(), pabsw = lanewise<int16_t, Absolute>(), pabsd = lanewise<int32_t, Absolute>();

// SSE4.1, SSE4.2
V pmuldq = sse66<Lanewise<uint64_t, MultiplyEvenSigned>>(), pmulld = sse66<Lanewise<uint32_t, MultiplyLow32>>();
V pcmpeqq = sse66<Lanewise<uint64_t, Equal>>(), pcmpgtq = sse66<Lanewise<int64_t, Greater>>();
V pminsb = sse66<Lanewise<int8_t, Min>>(), pminsd = sse66<Lanewise<int32_t, Min>>(),
  pminuw = sse66<Lanewise<uint16_t, Min>>(), pminud = sse66<Lanewise<uint32_t, Min>>(),
  pmaxsb = sse66<Lanewise<int8_t, Max>>(), pmaxsd = sse66<Lanewise<int32_t, Max>>(),
  pmaxuw = sse66<Lanewise<uint16_t, Max>>(), pmaxud = sse66<Lanewise<uint32_t, Max>>();
V phminposuw = sse66<MinimumPosition>(), mpsadbw = byPrefix<Absent, PackedImmediate<MultipleSums, Xmm>>();
V ptest = byPrefix<Absent, Test>();

}  // namespace nvmm::cpu
