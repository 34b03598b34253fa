#include <sys/mman.h>

#include <chrono>
#include <thread>

#include "coalescer.h"
#include "kicker.h"
#include "objects.h"

namespace nvmm {

namespace {

// Each counter has one writer at a time: who claimed the VCPU, or holds its lock.
void increment(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

const std::shared_ptr<RunnerThread>& RunnerThread::current() {
  struct Registration {
    std::shared_ptr<RunnerThread> thread = std::make_shared<RunnerThread>();
    ~Registration() { thread->ended(); }
  };
  static thread_local Registration registration;
  return registration.thread;
}

void RunnerThread::kick(File& file) {
  std::lock_guard<std::mutex> guard(lock_);
  if (alive_) file.kick(thread_);
}

void RunnerThread::ended() {
  std::lock_guard<std::mutex> guard(lock_);
  alive_ = false;
}

int Vcpu::create(const std::shared_ptr<Machine>& machine, uint32_t id, bool hasStopField,
                 std::shared_ptr<Vcpu>* result) {
  abi::nvmm_ioc_vcpu_create argument = {machine->id(), id};
  int error = machine->ioctl(abi::NVMM_IOC_VCPU_CREATE, &argument);
  if (error != 0) return error;
  // From here on the destructor takes the VCPU back, which the C library forgets where the mapping fails.
  std::shared_ptr<Vcpu> vcpu(new Vcpu(machine, id, hasStopField));
  void* comm;
  error = machine->file().mapComm(abi::commOffset(machine->id(), id), &comm);
  if (error != 0) return error;
  vcpu->comm_ = static_cast<abi::nvmm_comm_page_v2*>(comm);
  error = machine->add(vcpu);
  if (error != 0) return error;
  *result = std::move(vcpu);
  return netbsd::kOK;
}

Vcpu::Vcpu(std::shared_ptr<Machine> machine, uint32_t id, bool hasStopField)
    : machine_(std::move(machine)),
      id_(id),
      hasStopField_(hasStopField),
      argument_(std::make_shared<abi::nvmm_ioc_vcpu_run>()) {
  argument_->machid = machine_->id();
  argument_->cpuid = id;
}

Vcpu::~Vcpu() {
  Kicker::instance().remove(*this);
  destroy();
  if (comm_ != nullptr) munmap(comm_, abi::kPageSize);
}

int Vcpu::claim() {
  for (;;) {
    State idle = State::Idle;
    if (!status_->state.compare_exchange_strong(idle, State::Running)) return netbsd::kBUSY;
    if (!machine_->exclusive()) break;
    release();
    machine_->waitForExclusive();
  }
  if (!destroyed()) return netbsd::kOK;
  release();
  return netbsd::kNOENT;
}

// The way of every exit: without calls it costs a twentieth less.
[[gnu::flatten]] int Vcpu::run(const std::shared_ptr<RunnerThread>& thread) {
  int error = claim();
  if (error != 0) return error;
  error = enter(thread);
  release();
  return error;
}

int Vcpu::runClaimed(Coalescer* coalescer, const std::function<void()>& collected) {
  blocksCaller_ = false;
  abi::nvmm_x86_exit& exit = argument_->exit;
  int error = enter(RunnerThread::current());
  while (error == 0 && coalescer != nullptr) {
    bool first = false;
    const auto taken = coalescer->put(*comm_, exit, &first);
    if (taken == Coalescer::Taken::No) break;
    increment(status_->coalesced);
    if (taken == Coalescer::Taken::Full) {
      exit = {};
      exit.reason = abi::NVMM_VCPU_EXIT_NONE;
      break;
    }
    if (first) collected();
    error = enter(RunnerThread::current());
  }
  blocksCaller_ = true;
  status_->state.store(State::Delivering, std::memory_order_release);
  return error;
}

int Vcpu::enter(const std::shared_ptr<RunnerThread>& thread) {
  abi::nvmm_x86_exit& exit = argument_->exit;
  // A run that does not reach the guest leaves this as it finds it, and must not show an earlier run's; but an event
  // whose delivery was interrupted still waits then.
  const auto previous = exit.exitstate;
  exit.exitstate = {};
  exit.exitstate.bits = previous.bits & abi::kIntrEvtPending;
  if (stopRequested_.load(std::memory_order_acquire)) {
    consumeStop();
    exit.reason = abi::NVMM_VCPU_EXIT_STOPPED;
    countExit(exit.reason);
    return netbsd::kOK;
  }
  if (thread != runner_) {
    std::lock_guard<std::mutex> guard(lock_);
    runner_ = thread;
  }
  const int error = machine_->file().run(argument_.get());
  if (error != 0) {
    exit.exitstate = previous;
    return error;
  }
  // A kick makes the driver say NONE, and every return erases its own stop flag.
  if ((exit.reason == abi::NVMM_VCPU_EXIT_NONE || exit.reason == abi::NVMM_VCPU_EXIT_STOPPED) &&
      stopRequested_.load(std::memory_order_acquire)) {
    consumeStop();
    exit.reason = abi::NVMM_VCPU_EXIT_STOPPED;
  }
  countExit(exit.reason);
  return netbsd::kOK;
}

void Vcpu::countExit(uint64_t reason) {
  size_t slot = kReasons - 1;
  if (reason <= abi::NVMM_VCPU_EXIT_IO)
    slot = reason;
  else if (reason - 0x1000 < 5)
    slot = 3 + (reason - 0x1000);
  else if (reason - 0x2000 < 5)
    slot = 8 + (reason - 0x2000);
  else if (reason + 2 < 2)
    slot = 13 + (reason + 2);
  increment(status_->exits[slot]);
}

uint64_t Vcpu::runs() const {
  uint64_t sum = 0;
  for (const auto& count : status_->exits) sum += count.load(std::memory_order_relaxed);
  return sum;
}

void Vcpu::storeStop(int32_t value) {
  if (hasStopField_ && comm_ != nullptr) __atomic_store_n(&comm_->stop, value, __ATOMIC_SEQ_CST);
}

void Vcpu::consumeStop() {
  std::lock_guard<std::mutex> guard(lock_);
  stopRequested_ = false;
  storeStop(0);
}

uint64_t Vcpu::stop() {
  uint64_t number = 0;  // of none: another's stop that waits is not to be withdrawn
  {
    std::lock_guard<std::mutex> guard(lock_);
    increment(status_->stops);
    if (!stopRequested_) number = status_->stops;
    stopRequested_ = true;
    storeStop(1);
  }
  if (running()) {
    kick();
    Kicker::instance().stopping();
  }
  return number;
}

void Vcpu::withdrawStop(uint64_t number) {
  std::lock_guard<std::mutex> guard(lock_);
  if (!stopRequested_ || status_->stops != number) return;
  stopRequested_ = false;
  storeStop(0);
}

void Vcpu::kick() {
  std::lock_guard<std::mutex> guard(lock_);
  if (!running() || !runner_) return;
  increment(status_->kicks);
  runner_->kick(machine_->file());
}

template <typename Request>
int Vcpu::whileIdle(Request request) {
  int error = claim();
  if (error != 0) return error;
  error = request();
  release();
  return error;
}

int Vcpu::getState(uint64_t pieces) {
  return whileIdle([&] {
    comm_->state_wanted = pieces;
    abi::nvmm_ioc_vcpu_getstate argument = {machine_->id(), id_};
    return machine_->ioctl(abi::NVMM_IOC_VCPU_GETSTATE, &argument);
  });
}

int Vcpu::configure(uint64_t op, void* conf) {
  return whileIdle([&] {
    abi::nvmm_ioc_vcpu_configure argument = {machine_->id(), id_, op, conf};
    return machine_->ioctl(abi::NVMM_IOC_VCPU_CONFIGURE, &argument);
  });
}

void Vcpu::retire() {
  status_->destroyed = 1;
  untilIdle([this] { stop(); }, std::chrono::hours(24 * 365));
}

bool Vcpu::untilIdle(const std::function<void()>& interrupt, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (running()) {
    if (std::chrono::steady_clock::now() > end) return false;
    interrupt();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

int Vcpu::destroy() {
  std::lock_guard<std::mutex> guard(destroyLock_);
  if (destroyed()) return netbsd::kOK;
  retire();
  abi::nvmm_ioc_vcpu_destroy argument = {machine_->id(), id_};
  const int error = machine_->ioctl(abi::NVMM_IOC_VCPU_DESTROY, &argument);
  return machine_->destroyed() ? netbsd::kOK : error;  // by another thread meanwhile, and the VCPU with it
}

}  // namespace nvmm
