// A whole system with NVMM in software: one table of machines, any number of open files. Made by openMock, dropped when
// the last user lets go of it.
#pragma once

#include <memory>

#include "../device/raw_device.h"
#include "mock_options.h"

namespace nvmm::mock {

struct Counters {
  uint64_t ioctls[21];    // by request number (NVMM_IOC_CTL is 20)
  uint64_t exits[16];     // by reason, in the order of abi.json's exit_reasons
  uint64_t instructions;  // retired by all VCPUs
};

// What only a mock has, for users' tests.
class MockDevice : public RawDevice {
 public:
  virtual Counters counters() const = 0;
};

std::shared_ptr<MockDevice> makeMockDevice(const Options& options);

}  // namespace nvmm::mock
