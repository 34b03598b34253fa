// NetBSD's errno numbers for what the driver and the calls around it answer. Every Device speaks these, whatever the
// host calls its own: the names collide with the macros of <cerrno>, hence the enumerators without their E.
#pragma once

namespace nvmm::netbsd {

enum Errno : int {
  kOK = 0,
  kPERM = 1,
  kNOENT = 2,
  kSRCH = 3,
  kINTR = 4,
  kIO = 5,
  kNXIO = 6,
  kBADF = 9,
  kDEADLK = 11,
  kNOMEM = 12,
  kACCES = 13,
  kFAULT = 14,
  kBUSY = 16,
  kEXIST = 17,
  kXDEV = 18,
  kNODEV = 19,
  kNOTDIR = 20,
  kISDIR = 21,
  kINVAL = 22,
  kNFILE = 23,
  kMFILE = 24,
  kNOTTY = 25,
  kSPIPE = 29,
  kAGAIN = 35,
  kOPNOTSUPP = 45,
  kNOBUFS = 55,
  kLOOP = 62,
  kNAMETOOLONG = 63,
  kPROGMISMATCH = 75,
  kNOSYS = 78,
  kNOTSUP = 86,
};

}  // namespace nvmm::netbsd
