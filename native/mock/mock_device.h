// A whole system with NVMM in software: one table of machines, any number of open files. Made by openMock, dropped when
// the last user lets go of it.
#pragma once

#include <array>
#include <memory>

#include "../abi/nvmm.h"
#include "../device/raw_device.h"
#include "cpu/cpu.h"
#include "mock_options.h"

namespace nvmm::mock {

struct Counters {
  uint64_t ioctls[21];    // by request number (NVMM_IOC_CTL is 20)
  uint64_t exits[16];     // by reason, in the order of nvmm.h; the last one for unknown reasons
  uint64_t instructions;  // retired by all VCPUs
  std::array<uint64_t, std::tuple_size_v<cpu::UnknownOpcodes>> unknownOpcodes;  // see there
};

// Something that goes wrong by order, once.
struct Fault {
  enum class Kind {
    Error,           // the request fails with `error`, and has no effect
    PreemptAtEntry,  // a run ends with exit.reason before it has done anything
    PreemptAtExit,   // a run's first exit is decoded, then replaced by exit.reason
    Exit,            // a run enters the guest, and at once leaves it with `exit`
  };
  Kind kind = Kind::Error;
  int error = netbsd::kOK;
  abi::nvmm_x86_exit exit = {};  // of a run; exitstate is not used
};

// What faults can be ordered for besides requests: openings of the node, and mappings of comm pages. No request has
// these numbers.
constexpr unsigned kOpen = 15, kMmap = 16;

// What only a mock has, for users' tests.
class MockDevice : public RawDevice {
 public:
  virtual Counters counters() const = 0;

  // Orders `fault` for the nth operation of this kind from now on, 1 being the next; of a number up to 20: see
  // Counters::ioctls.
  virtual void plan(unsigned operation, uint64_t nth, const Fault& fault) = 0;

  // As new: no machines, no faults ordered, counters at 0. Descriptors of before are cut off: what they made is
  // destroyed, and they are good for nothing but closing. EBUSY while a request is at work on a machine.
  virtual int reset() = 0;
};

std::shared_ptr<MockDevice> makeMockDevice(const Options& options);

}  // namespace nvmm::mock
