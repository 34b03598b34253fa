// SSE4.2: string comparisons and CRC32.
#include "handlers.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

// ---- PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM ---------------------------------------------------------------------

// The immediate: format of the elements, how they are compared, what the result means.
constexpr unsigned kWords = 1 << 0, kSigned = 1 << 1, kMostSignificant = 1 << 6, kElementMask = 1 << 6;
enum class Aggregation { EqualAny, Ranges, EqualEach, EqualOrdered };
constexpr unsigned kNegate = 1 << 4, kOnlyValid = 1 << 5;

struct String {
  std::array<int32_t, 16> element;
  unsigned length;
};

String elements(const Xmm& raw, unsigned control) {
  String s{};
  if (control & kWords) {
    const auto x = lanes<uint16_t>(raw);
    for (size_t i = 0; i < x.size(); ++i) s.element[i] = control & kSigned ? static_cast<int16_t>(x[i]) : int32_t{x[i]};
  } else {
    const auto x = lanes<uint8_t>(raw);
    for (size_t i = 0; i < x.size(); ++i) s.element[i] = control & kSigned ? static_cast<int8_t>(x[i]) : int32_t{x[i]};
  }
  return s;
}

unsigned implicitLength(const String& s, unsigned count) {
  unsigned length = 0;
  while (length < count && s.element[length]) ++length;
  return length;
}
unsigned explicitLength(int64_t value, unsigned count) {
  const uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  return static_cast<unsigned>(std::min<uint64_t>(magnitude, count));
}

// A bit for each element of b. What lies behind the end of a string equals the same of the other one, where places are
// compared, and is found everywhere, where a is searched for.
uint32_t aggregate(const String& a, const String& b, unsigned count, Aggregation how) {
  uint32_t result = 0;
  for (unsigned j = 0; j < count; ++j) {
    const bool valid = j < b.length;
    bool is = false;
    switch (how) {
      case Aggregation::EqualAny:
        for (unsigned i = 0; valid && i < a.length; ++i) is = is || a.element[i] == b.element[j];
        break;
      case Aggregation::Ranges:
        for (unsigned i = 0; valid && i + 1 < a.length; i += 2) {
          is = is || (a.element[i] <= b.element[j] && b.element[j] <= a.element[i + 1]);
        }
        break;
      case Aggregation::EqualEach:
        is = valid && j < a.length ? a.element[j] == b.element[j] : !valid && j >= a.length;
        break;
      case Aggregation::EqualOrdered:
        is = true;
        for (unsigned i = 0; i < a.length && i + j < count; ++i)
          is = is && i + j < b.length && a.element[i] == b.element[i + j];
        break;
    }
    result |= static_cast<uint32_t>(is) << j;
  }
  return result;
}

template <typename T>
Xmm expandMask(uint32_t mask) {
  Lanes<T, Xmm> x;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(mask >> i & 1 ? -1 : 0);
  return fromLanes<Xmm>(x);
}

template <bool kExplicit, bool kIndex>
struct CompareStrings {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Xmm raw;
    if (!start<Xmm, kWhere, false>(core, insn, raw)) return stop(core, insn);
    const auto control = static_cast<uint8_t>(insn->imm);
    const unsigned count = control & kWords ? 8 : 16;
    String a = elements(get<Xmm>(core, insn->reg), control), b = elements(raw, control);
    if (kExplicit) {
      auto length = [&](unsigned r) {
        return insn->operandSize == 8 ? static_cast<int64_t>(core.reg<uint64_t>(r))
                                      : static_cast<int32_t>(core.reg<uint32_t>(r));
      };
      a.length = explicitLength(length(RAX), count);
      b.length = explicitLength(length(RDX), count);
    } else {
      a.length = implicitLength(a, count);
      b.length = implicitLength(b, count);
    }
    const uint32_t all = (1u << count) - 1;
    uint32_t mask = aggregate(a, b, count, static_cast<Aggregation>(control >> 2 & 3));
    if (control & kNegate) mask ^= control & kOnlyValid ? (1u << b.length) - 1 : all;

    if (kIndex) {
      const int index = !mask                        ? static_cast<int>(count)
                        : control & kMostSignificant ? 31 - __builtin_clz(mask)
                                                     : __builtin_ctz(mask);
      core.setReg<uint32_t>(RCX, static_cast<uint32_t>(index));
    } else if (control & kElementMask) {
      put<Xmm>(core, 0, control & kWords ? expandMask<uint16_t>(mask) : expandMask<uint8_t>(mask));
    } else {
      put<Xmm>(core, 0, {{mask, 0}});
    }
    core.flags.set((mask ? kCF : 0) | (b.length < count ? kZF : 0) | (a.length < count ? kSF : 0) |
                   (mask & 1 ? kOF : 0));
    return next(core, insn);
  }
};

// ---- CRC32: of the polynomial 11EDC6F41, bits reversed
// ---------------------------------------------------------------

struct CrcTable {
  uint32_t value[256];
  constexpr CrcTable() : value() {
    constexpr uint32_t kPolynomial = 0x82f63b78;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kPolynomial : 0);
      value[i] = crc;
    }
  }
};
constexpr CrcTable kCrc;

template <typename T>
struct Crc {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    auto crc = core.reg<uint32_t>(insn->reg);
    for (size_t i = 0; i < sizeof(T); ++i) {
      crc = crc >> 8 ^ kCrc.value[static_cast<uint8_t>(crc ^ static_cast<uint64_t>(value) >> 8 * i)];
    }
    core.setReg<uint32_t>(insn->reg, crc);
    return next(core, insn);
  }
};

}  // namespace

V pcmpestrm = byPrefix<Absent, CompareStrings<true, false>>(),
  pcmpestri = byPrefix<Absent, CompareStrings<true, true>>(),
  pcmpistrm = byPrefix<Absent, CompareStrings<false, false>>(),
  pcmpistri = byPrefix<Absent, CompareStrings<false, true>>();

V crc32 = {{{},
            {Crc<uint16_t>::run<Where::Register>, Crc<uint16_t>::run<Where::Memory>},
            {Crc<uint32_t>::run<Where::Register>, Crc<uint32_t>::run<Where::Memory>},
            {Crc<uint64_t>::run<Where::Register>, Crc<uint64_t>::run<Where::Memory>}}};
const Insn* crc32Byte(Core& core, const Insn* insn) {
  return insn->memory ? Crc<uint8_t>::run<Where::Memory>(core, insn) : Crc<uint8_t>::run<Where::Register>(core, insn);
}

}  // namespace nvmm::cpu
