#include "decode.h"

#include "opcodes.h"

namespace nvmm::cpu {
namespace {

constexpr unsigned kMaxLength = 15;

uint64_t sizeMask(unsigned bytes) { return ~uint64_t{0} >> (64 - 8 * bytes); }

class Decoder {
 public:
  Decoder(Core& core, CodeBytes& bytes, unsigned offset, bool mayFault, Insn& insn)
      : core_(core), bytes_(bytes), mayFault_(mayFault), insn_(insn), code64_(core.code64()) {
    insn_ = {};
    insn_.offset = static_cast<uint16_t>(offset);
    insn_.base = insn_.index = kNoRegister;
    codeSize_ = code64_ ? 4 : (core.mode & kModeCode) ? 4 : 2;  // the default operand size
  }

  // False: a byte is missing, or there are too many.
  bool run() {
    uint8_t opcode;
    if (!prefixes(opcode)) return false;
    Map map = Map::OneByte;
    bool vexFollows = false;
    if (opcode == 0xc4 || opcode == 0xc5) {
      uint8_t peek;
      if (!look(peek)) return false;
      vexFollows = code64_ || (peek >= 0xc0 && (core_.mode & kModeProtected));
    }
    if (vexFollows) {
      if (!vexPrefix(opcode, map, opcode)) return false;
    } else if (opcode == 0x0f) {
      map = Map::TwoByte;
      if (!next(opcode)) return false;
      if (opcode == 0x38 || opcode == 0x3a) {
        map = opcode == 0x38 ? Map::Map38 : Map::Map3A;
        if (!next(opcode)) return false;
      }
    }
    insn_.opcode = opcode;
    const OpcodeRange rows = opcodes(map, opcode);
    if (rows.first != rows.last && rows.first->form.modrm) {
      if (!next(modrm_)) return false;
      reg_ = modrm_ >> 3 & 7;
    }
    const Opcode* row = find(rows);
    if (!row || badVex_) {
      // Its operands are fetched as those of its neighbours, and may be too long or not there.
      if (rows.first != rows.last && !operands(*rows.first)) return false;
      insn_.handler = unknownOpcode;
      insn_.imm = unknownOpcodeIndex(vex_, static_cast<unsigned>(map), opcode);
      return ends_ = true;
    }
    return operands(*row) && choose(*row);
  }

  bool tooLong() const { return tooLong_; }
  bool ends() const { return ends_; }

 private:
  bool look(uint8_t& value) {
    if (insn_.length == kMaxLength) return !(tooLong_ = true);
    return bytes_.byte(insn_.offset + insn_.length, mayFault_, value);
  }
  bool next(uint8_t& value) {
    if (!look(value)) return false;
    ++insn_.length;
    return true;
  }
  // A little-endian number of so many bytes, sign-extended.
  bool number(unsigned size, uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < size; ++i) {
      uint8_t byte;
      if (!next(byte)) return false;
      value |= static_cast<uint64_t>(byte) << 8 * i;
    }
    unsigned shift = 64 - 8 * size;
    value = static_cast<uint64_t>(static_cast<int64_t>(value << shift) >> shift);
    return true;
  }

  bool prefixes(uint8_t& opcode) {
    for (;;) {
      if (!next(opcode)) return false;
      uint8_t rex = 0;
      const uint8_t before = segment_;
      switch (opcode) {
        case 0x26: segment_ = ES; break;
        case 0x2e: segment_ = CS; break;
        case 0x36: segment_ = SS; break;
        case 0x3e: segment_ = DS; break;
        case 0x64: segment_ = FS; break;
        case 0x65: segment_ = GS; break;
        case 0x66: operandPrefix_ = true; break;
        case 0x67: addressPrefix_ = true; break;
        case 0xf0: insn_.lock = true; break;
        case 0xf2:
        case 0xf3: insn_.repeat = opcode; break;
        default:
          if (!code64_ || (opcode & 0xf0) != 0x40) return true;
          rex = opcode;
      }
      // In 64-bit mode a prefix of ES, CS, SS, DS means nothing, but does not undo FS or GS before it.
      if (code64_ && segment_ < FS) segment_ = before;
      rex_ = rex;  // it counts only right before the opcode
    }
  }

  bool vexPrefix(uint8_t escape, Map& map, uint8_t& opcode) {
    badVex_ = operandPrefix_ || insn_.repeat || insn_.lock || rex_;
    uint8_t first, last;
    if (!next(first)) return false;
    unsigned mapNumber = 1;
    last = first;
    rex_ = static_cast<uint8_t>(~first >> 5 & 4);  // R
    if (escape == 0xc4) {
      rex_ = static_cast<uint8_t>(~first >> 5 & 7);  // R, X, B
      mapNumber = first & 31;
      if (!next(last)) return false;
      if (last & 0x80) rex_ |= 8;
    }
    if (!code64_) rex_ = 0;
    vex_ = true;
    vexPrefix_ = static_cast<Prefix>(last & 3);
    insn_.vvvv = (~last >> 3 & 15) & (code64_ ? 15 : 7);
    if (last & 4 || mapNumber < 1 || mapNumber > 3) badVex_ = true;
    map = static_cast<Map>(mapNumber & 3);
    return next(opcode);
  }

  Prefix mandatory() const {
    if (vex_) return vexPrefix_;
    if (insn_.repeat) return insn_.repeat == 0xf3 ? Prefix::F3 : Prefix::F2;
    return operandPrefix_ ? Prefix::P66 : Prefix::None;
  }

  const Opcode* find(OpcodeRange rows) const {
    for (const Opcode* row = rows.first; row != rows.last; ++row) {
      uint16_t attributes = row->attributes;
      bool registerForm = modrm_ >= 0xc0 || attributes & kRegisterMod;
      if (static_cast<bool>(attributes & kVex) == vex_ && !(attributes & (code64_ ? kNo64 : kOnly64)) &&
          (!(attributes & kProtected) || core_.mode & kModeProtected) &&
          !(attributes & kNoRexB && rex_ & 1 && core_.amd()) &&
          (row->prefix == Prefix::Any || row->prefix == mandatory()) &&
          (row->extension == kNone || row->extension == reg_) && (row->modrm == kNone || row->modrm == modrm_) &&
          (!row->rexW || rex_ & 8) && !(row->form.memoryOnly && registerForm) &&
          !(row->form.registerOnly && !registerForm)) {
        return row;
      }
    }
    return nullptr;
  }

  unsigned effectiveOperandSize(uint16_t attributes) const {
    if (rex_ & 8) return 8;
    if (code64_ && attributes & kDefault64) {
      bool ignored = attributes & kNear && core_.model.vendor == Vendor::Intel;
      return operandPrefix_ && !ignored ? 2 : 8;
    }
    return operandPrefix_ && !vex_ ? 6 - codeSize_ : codeSize_;
  }

  unsigned operationSize(char letter, unsigned effective) const {
    switch (letter) {
      case 'b': return 1;
      case 'w': return 2;
      case 'd': return 4;
      case 'q': return 8;
      case 'z': return effective == 2 ? 2 : 4;
      case 'y': return rex_ & 8 ? 8 : 4;
      case 'n': return code64_ ? 8 : 4;
      default: return effective;
    }
  }

  uint8_t registerName(unsigned number, bool byte) const {
    if (!byte) return static_cast<uint8_t>(number);
    return static_cast<uint8_t>(number >= 4 && number < 8 && !rex_ ? (number - 4) * 8 + 1 : number * 8);
  }

  bool operands(const Opcode& row) {
    const Form& form = row.form;
    const unsigned effective = effectiveOperandSize(row.attributes);
    insn_.operandSize = static_cast<uint8_t>(operationSize(form.size, effective));
    insn_.addressSize = static_cast<uint8_t>(code64_          ? (addressPrefix_ ? 4 : 8)
                                             : addressPrefix_ ? 6 - codeSize_
                                                              : codeSize_);
    insn_.rex = rex_;
    insn_.segment = DS;
    unsigned extendR = rex_ << 1 & 8, extendB = rex_ << 3 & 8;
    if (form.modrm) {
      if (modrm_ < 0xc0 && !(row.attributes & kRegisterMod)) {
        insn_.memory = true;
        if (!(insn_.addressSize == 2 ? memory16() : memory())) return false;
      } else {
        insn_.rm = registerName((modrm_ & 7) | extendB, form.byteRm);
      }
      insn_.reg = form.reg == Register::Gpr       ? registerName(reg_ | extendR, form.byteReg)
                  : form.reg == Register::Segment ? reg_
                                                  : static_cast<uint8_t>(reg_ | extendR);
    }
    if (form.inOpcode) insn_.reg = registerName((insn_.opcode & 7) | extendB, form.byteReg);
    if (form.inOpcode) insn_.rm = insn_.reg;  // INC, DEC
    if (form.segmentInOpcode) insn_.reg = insn_.opcode >> 3 & 7;
    if (segment_ != kNoSegment) insn_.segment = segment_;
    if (form.offset) {
      if (!number(insn_.addressSize, insn_.disp)) return false;
    }
    if (!immediates(form, effective)) return false;
    if (ripRelative_) insn_.disp += core_.nextRip(&insn_);
    if (form.relative) {
      insn_.imm = (core_.nextRip(&insn_) + insn_.imm) & sizeMask(insn_.operandSize);
      insn_.link = BlockCache::none();
    }
    return true;
  }

  // Of two, the one of 16 bits is `selector`.
  bool immediates(const Form& form, unsigned effective) {
    for (unsigned i = 0; i < 2 && form.immediate[i]; ++i) {
      char letter = form.immediate[i];
      unsigned size = letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'v' || effective == 2 ? effective : 4;
      uint64_t value;
      if (!number(size, value)) return false;
      if (letter == 'w' && form.immediate[1]) {
        insn_.selector = static_cast<uint16_t>(value);
      } else {
        insn_.imm = value;
      }
    }
    if (form.immediate[1] == 'w') insn_.imm &= sizeMask(insn_.operandSize);  // a far pointer's offset
    return true;
  }

  bool memory16() {
    static constexpr uint8_t kBase[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static constexpr uint8_t kIndex[8] = {RSI, RDI, RSI, RDI, kNoRegister, kNoRegister, kNoRegister, kNoRegister};
    unsigned mod = modrm_ >> 6, rm = modrm_ & 7;
    if (mod == 0 && rm == 6) return number(2, insn_.disp);
    insn_.base = kBase[rm];
    insn_.index = kIndex[rm];
    if (insn_.base == RBP) insn_.segment = SS;
    return mod == 0 || number(mod, insn_.disp);
  }

  bool memory() {
    unsigned mod = modrm_ >> 6, rm = modrm_ & 7, extendB = rex_ << 3 & 8;
    unsigned base = rm;
    if (rm == 4) {
      uint8_t sib;
      if (!next(sib)) return false;
      base = sib & 7;
      unsigned index = (sib >> 3 & 7) | (rex_ << 2 & 8);
      if (index != RSP) insn_.index = static_cast<uint8_t>(index), insn_.scale = sib >> 6;
    }
    if (mod == 0 && base == RBP) {
      ripRelative_ = code64_ && rm != 4;
      return number(4, insn_.disp);
    }
    insn_.base = static_cast<uint8_t>(base | extendB);
    if (insn_.base == RSP || insn_.base == RBP) insn_.segment = SS;
    return mod == 0 || number(mod == 1 ? 1 : 4, insn_.disp);
  }

  bool choose(const Opcode& row) {
    const Form& form = row.form;
    insn_.handler = row.execute.handler;
    bool lockable = insn_.memory && row.attributes & kLock;
    if (row.execute.variants) {
      const unsigned bySize = insn_.operandSize == 8 ? 3 : insn_.operandSize >> 1;
      const Handler* handlers = row.execute.variants->handler[form.simd ? static_cast<unsigned>(mandatory()) : bySize];
      lockable = insn_.memory && handlers[2];
      insn_.handler = handlers[lockable && insn_.lock ? 2 : insn_.memory ? 1 : 0];
    }
    bool badSegment = form.reg == Register::Segment && (reg_ > GS || (row.attributes & kLoadsSegment && reg_ == CS));
    if (!insn_.handler || badSegment || (insn_.lock && !lockable)) insn_.handler = undefined;
    ends_ = row.attributes & kEnd || insn_.handler == undefined;
    return true;
  }

  static constexpr uint8_t kNoSegment = 0xff;

  Core& core_;
  CodeBytes& bytes_;
  bool mayFault_;
  Insn& insn_;
  bool code64_;
  unsigned codeSize_;
  bool operandPrefix_ = false, addressPrefix_ = false, ripRelative_ = false, tooLong_ = false, ends_ = false;
  bool vex_ = false, badVex_ = false;
  Prefix vexPrefix_ = Prefix::None;
  uint8_t segment_ = kNoSegment;
  uint8_t rex_ = 0;  // W R X B
  uint8_t modrm_ = 0, reg_ = 0;
};

}  // namespace

CodeBytes::CodeBytes(Core& core, uint64_t linear, const uint8_t* host)
    : core_(core), linear_(linear), host_(host), firstBytes_(0x1000 - (linear & 0xfff)) {
  limitBytes_ = core.code64() ? ~uint64_t{0} : core.codeLimit - core.state.rip + 1;
}

bool CodeBytes::byte(unsigned offset, bool mayFault, uint8_t& value) {
  if (offset >= limitBytes_) return mayFault && core_.raise(vector::GP, 0);
  if (offset < firstBytes_) {
    value = loadHost<uint8_t>(host_ + offset);
    return true;
  }
  if (!host2_) {
    if (!mayFault) return false;
    uint64_t linear = linear_ + firstBytes_;
    if (!core_.code64()) linear = static_cast<uint32_t>(linear);
    host2_ = core_.fetchPage(linear);
    if (!host2_) return false;
  }
  value = loadHost<uint8_t>(host2_ + offset - firstBytes_);
  return true;
}

bool decode(Core& core, CodeBytes& bytes, unsigned offset, bool mayFault, Insn& insn, bool& ends) {
  Decoder decoder(core, bytes, offset, mayFault, insn);
  if (!decoder.run()) {
    if (!decoder.tooLong()) return false;
    insn.handler = instructionTooLong;
    ends = true;
    return true;
  }
  ends = decoder.ends();
  return true;
}

}  // namespace nvmm::cpu
