// MMX and SSE2 (with the additions of SSE): arithmetic, logic, shifts, packing and shuffling of packed integers.
#include <algorithm>
#include <type_traits>

#include "handlers.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

// V = f(V, W) on whole registers.
template <class Operation, class Raw>
struct Packed {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Raw b;
    if (!start<Raw, kWhere>(core, insn, b)) return stop(core, insn);
    put<Raw>(core, insn->reg, Operation::apply(get<Raw>(core, insn->reg), b));
    return next(core, insn);
  }
};
// The same with an immediate.
template <class Operation, class Raw>
struct PackedImmediate {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Raw b;
    if (!start<Raw, kWhere>(core, insn, b)) return stop(core, insn);
    put<Raw>(core, insn->reg, Operation::apply(get<Raw>(core, insn->reg), b, static_cast<uint8_t>(insn->imm)));
    return next(core, insn);
  }
};
template <class Operation>
constexpr Variants mmxAndSse() {
  return byPrefix<Packed<Operation, Mmx>, Packed<Operation, Xmm>>();
}

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

// The value of the range of T that is nearest.
template <typename T>
constexpr T saturate(int value) {
  return static_cast<T>(std::clamp<int>(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
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

// ---- Packing and unpacking ------------------------------------------------------------------------------------------

// The lanes of a and then those of b, saturated to half their width.
template <typename From, typename To>
struct Pack {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto x = lanes<From>(a), y = lanes<From>(b);
    Lanes<To, Raw> result;
    for (size_t i = 0; i < x.size(); ++i) {
      result[i] = saturate<To>(x[i]);
      result[x.size() + i] = saturate<To>(y[i]);
    }
    return fromLanes<Raw>(result);
  }
};

// The lanes of one half of a and b by turns.
template <typename T, bool kHigh>
struct Interleave {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto x = lanes<T>(a), y = lanes<T>(b);
    Lanes<T, Raw> result;
    const size_t half = x.size() / 2, first = kHigh ? half : 0;
    for (size_t i = 0; i < half; ++i) {
      result[2 * i] = x[first + i];
      result[2 * i + 1] = y[first + i];
    }
    return fromLanes<Raw>(result);
  }
};
// PUNPCKL of MMX reads only 32 bits of memory.
template <class Operation>
struct InterleaveLowMmx {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if constexpr (kWhere == Where::Register) {
      return Packed<Operation, Mmx>::template run<kWhere>(core, insn);
    } else {
      uint32_t b;
      if (!mmxAvailable(core) || !core.read<uint32_t>(insn->segment, core.address(insn), b)) return stop(core, insn);
      enterMmx(core);
      put<Mmx>(core, insn->reg, Operation::apply(get<Mmx>(core, insn->reg), Mmx{b}));
      return next(core, insn);
    }
  }
};
template <typename T>
constexpr Variants interleaveLow() {
  using Operation = Interleave<T, false>;
  return byPrefix<InterleaveLowMmx<Operation>, Packed<Operation, Xmm>>();
}
template <typename T>
constexpr Variants interleaveHigh() {
  return mmxAndSse<Interleave<T, true>>();
}

// ---- Shuffling ------------------------------------------------------------------------------------------------------

// Four lanes from `first` on, chosen by two bits each; the others as in b.
template <typename T, unsigned kFirst>
struct Shuffle {
  template <class Raw>
  static Raw apply(const Raw&, const Raw& b, uint8_t order) {
    const auto from = lanes<T>(b);
    auto to = from;
    for (unsigned i = 0; i < 4; ++i) to[kFirst + i] = from[kFirst + (order >> 2 * i & 3)];
    return fromLanes<Raw>(to);
  }
};

template <class Raw>
struct InsertWord {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint16_t value;
    if (!available<Raw>(core) || !readE<uint16_t, kWhere>(core, insn, value)) return stop(core, insn);
    begin<Raw>(core);
    auto x = lanes<uint16_t>(get<Raw>(core, insn->reg));
    x[insn->imm & (x.size() - 1)] = value;
    put<Raw>(core, insn->reg, fromLanes<Raw>(x));
    return next(core, insn);
  }
};
template <class Raw>
struct ExtractWord {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    begin<Raw>(core);
    const auto x = lanes<uint16_t>(get<Raw>(core, insn->rm));
    core.setReg<uint32_t>(insn->reg, x[insn->imm & (x.size() - 1)]);
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

V packsswb = mmxAndSse<Pack<int16_t, int8_t>>(), packuswb = mmxAndSse<Pack<int16_t, uint8_t>>(),
  packssdw = mmxAndSse<Pack<int32_t, int16_t>>();
V punpcklbw = interleaveLow<uint8_t>(), punpcklwd = interleaveLow<uint16_t>(), punpckldq = interleaveLow<uint32_t>();
V punpckhbw = interleaveHigh<uint8_t>(), punpckhwd = interleaveHigh<uint16_t>(), punpckhdq = interleaveHigh<uint32_t>();
V punpcklqdq = byPrefix<Absent, Packed<Interleave<uint64_t, false>, Xmm>>(),
  punpckhqdq = byPrefix<Absent, Packed<Interleave<uint64_t, true>, Xmm>>();

V pshufw = byPrefix<PackedImmediate<Shuffle<uint16_t, 0>, Mmx>, PackedImmediate<Shuffle<uint32_t, 0>, Xmm>,
                    PackedImmediate<Shuffle<uint16_t, 4>, Xmm>, PackedImmediate<Shuffle<uint16_t, 0>, Xmm>>();
V pinsrw = byPrefix<InsertWord<Mmx>, InsertWord<Xmm>>(), pextrw = byPrefix<ExtractWord<Mmx>, ExtractWord<Xmm>>();

}  // namespace nvmm::cpu
