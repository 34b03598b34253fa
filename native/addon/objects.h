// What the addon keeps for JavaScript: an open file, its machines, their memory and VCPUs. Owners point upwards
// (VCPU -> machine -> file -> device), so letting go in any order releases nothing too early; each object's destructor
// releases what it holds, which makes garbage collection the safety net of destroy(), close() and free().
//
// Every method may be called from any thread and returns 0 or a NetBSD errno.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "../abi/nvmm.h"
#include "../device/device.h"

namespace nvmm {

class Machine;
class Memory;
class Vcpu;

class File {
 public:
  static int open(std::shared_ptr<Device> device, const std::string& path, Access access, std::shared_ptr<File>* file);
  ~File() { close(); }

  int ioctl(uint32_t request, void* argument);
  int mapComm(uint64_t offset, void** page);
  // CTL(MACH_INFO): EBUSY while a VCPU of that machine runs, if it was made through this file.
  int machineInfo(abi::nvmm_ctl_mach_info* info);
  // Destroys the machines made through this file first. Waits for machines of others: see Device::close.
  int close();

  // VCPU_RUN without the lock that keeps close() away: the caller holds a VCPU busy, which close() waits for.
  int run(abi::nvmm_ioc_vcpu_run* argument) { return device_->ioctl(fd_, abi::NVMM_IOC_VCPU_RUN, argument); }
  void kick(pthread_t thread) { device_->kick(thread); }

 private:
  friend class Machine;
  File(std::shared_ptr<Device> device, int fd) : device_(std::move(device)), fd_(fd) {}

  const std::shared_ptr<Device> device_;
  const int fd_;
  std::shared_mutex lock_;  // shared by calls that use fd_, so that its number cannot be reused under them
  bool open_ = true;
  std::mutex machinesLock_;
  std::vector<std::weak_ptr<Machine>> machines_;
};

class Machine {
 public:
  static int create(std::shared_ptr<File> file, std::shared_ptr<Machine>* machine);
  ~Machine();

  uint32_t id() const { return id_; }
  // Stops the VCPUs, waits until none runs, then destroys.
  int destroy();
  int configure(uint64_t op);
  int mapGpa(const Memory& memory, uint64_t offset, uint64_t gpa, uint64_t size, int prot);
  int unmapGpa(uint64_t gpa, uint64_t size);

  File& file() const { return *file_; }
  // ENOENT once the machine is destroyed: the id may be another machine's by then.
  int ioctl(uint32_t request, void* argument);
  // A request that the driver would let wait for every running VCPU of the machine: EBUSY while one runs. Runs that
  // begin meanwhile wait for its end, which is short. `prepare` is called once it is sure that the request is made.
  int exclusively(uint32_t request, void* argument, const std::function<void()>& prepare);
  bool exclusive() const { return exclusive_; }
  bool destroyed() const { return destroyed_; }
  void waitForExclusive();
  void add(const std::shared_ptr<Vcpu>& vcpu);

 private:
  friend class Memory;
  Machine(std::shared_ptr<File> file, uint32_t id) : file_(std::move(file)), id_(id) {}

  const std::shared_ptr<File> file_;
  const uint32_t id_;
  std::shared_mutex ioctlLock_;  // shared by requests, so that destroy() does not free the id under them
  std::mutex lock_;              // of the lists, and held through exclusive requests
  std::vector<std::weak_ptr<Vcpu>> vcpus_;
  std::vector<std::pair<uint8_t*, size_t>> orphans_;  // memory that was let go of while a VCPU ran
  std::atomic<bool> exclusive_{false};
  std::atomic<bool> destroyed_{false};
};

// Page-aligned memory attached to a machine: nvmm_hva_map. The address range is unmapped when the object goes.
class Memory {
 public:
  static int allocate(std::shared_ptr<Machine> machine, size_t size, std::shared_ptr<Memory>* memory);
  ~Memory();

  uint8_t* base() const { return base_; }
  size_t size() const { return size_; }
  const std::shared_ptr<Machine>& machine() const { return machine_; }
  // HVA_UNMAP: EBUSY while a VCPU of the machine runs. `prepare` comes before the range vanishes: nobody may touch it
  // then.
  int free(const std::function<void()>& prepare);

 private:
  Memory(std::shared_ptr<Machine> machine, uint8_t* base, size_t size)
      : machine_(std::move(machine)), base_(base), size_(size) {}

  const std::shared_ptr<Machine> machine_;
  uint8_t* base_;
  const size_t size_;
};

// A thread that runs VCPUs, as something that can be kicked without the danger that it has ended.
class RunnerThread {
 public:
  static const std::shared_ptr<RunnerThread>& current();
  void kick(File& file);
  void ended();

 private:
  std::mutex lock_;
  const pthread_t thread_ = pthread_self();
  bool alive_ = true;  // false: thread_ may name nobody, or somebody else
};

class Vcpu {
 public:
  // `watch`: see Kicker::add.
  static int create(std::shared_ptr<Machine> machine, uint32_t id, bool hasStopField, bool watch,
                    std::shared_ptr<Vcpu>* vcpu);
  ~Vcpu();

  void* commPage() const { return comm_; }
  // The argument of VCPU_RUN. JavaScript sees its `exit`, where the driver writes, and not the ids before that.
  const std::shared_ptr<abi::nvmm_ioc_vcpu_run>& argument() const { return argument_; }

  // nvmm_vcpu_run. EBUSY while the VCPU runs already or the result of an asynchronous run is on its way. `thread` is
  // the caller's: looking it up costs as much as a tenth of a run.
  int run(const std::shared_ptr<RunnerThread>& thread);
  // The same in steps, for a thread of our own: claim() on the caller's thread, runClaimed() on the other one, which
  // leaves the result untouchable until release().
  int claim();
  int runClaimed();
  void release() { state_.store(State::Idle, std::memory_order_release); }
  bool running() const { return state_ == State::Running; }
  // Whether a run in progress is one of run(), on a thread that JavaScript waits on.
  bool blocksCaller() const { return blocksCaller_; }

  // nvmm_vcpu_stop, never lost: one call ends one run, the present or the next one, with STOPPED.
  void stop();
  bool stopRequested() const { return stopRequested_; }
  // Makes a run in progress end with NONE, or with STOPPED if that was asked for. May be lost, if the run is only
  // beginning.
  void kick();
  // How many runs have begun.
  uint32_t runs() const { return runs_.load(std::memory_order_relaxed); }

  int getState(uint64_t pieces);
  int configure(uint64_t op, void* conf);
  // Stops the VCPU, waits until it does not run, then destroys it. Its comm page stays mapped, and harmless, until the
  // last owner lets go.
  int destroy();
  // The part of that which concerns threads: after it no run begins.
  void retire();
  // Ends a run in progress on another thread, and waits for that.
  void interrupt();

 private:
  enum class State : uint8_t { Idle, Running, Delivering };

  Vcpu(std::shared_ptr<Machine> machine, uint32_t id, bool hasStopField);
  int enter(const std::shared_ptr<RunnerThread>& thread);
  void consumeStop();
  void storeStop(int32_t value);
  template <typename Request>
  int whileIdle(Request request);

  const std::shared_ptr<Machine> machine_;
  const uint32_t id_;
  const bool hasStopField_;
  abi::nvmm_comm_page_v2* comm_ = nullptr;
  const std::shared_ptr<abi::nvmm_ioc_vcpu_run> argument_;
  std::atomic<State> state_{State::Idle};
  std::atomic<bool> stopRequested_{false};
  std::atomic<bool> destroyed_{false};
  std::atomic<uint32_t> runs_{0};
  std::atomic<bool> blocksCaller_{true};
  std::mutex lock_;  // of runner_, and of the order in which stopRequested_ and the page's `stop` change
  std::shared_ptr<RunnerThread> runner_;
};

}  // namespace nvmm
