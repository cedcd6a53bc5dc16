// The contracts of Device, Lane and Event, by their interfaces alone: one body for the CPU and for the GPU, if there is
// one.
#include "kernels/core/device.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/open_device.h"
#include "kernels/core/trace.h"

namespace triforce {
namespace {

constexpr int64_t kLimitBytes = int64_t{64} << 20;

void ForEachDevice(const std::function<void(Device&)>& body, Trace* trace = nullptr) {
  body(*OpenDevice("cpu", kLimitBytes, trace));
  std::unique_ptr<Device> gpu;
  try {
    gpu = OpenDevice("cuda:0", kLimitBytes, trace);
  } catch (const Error& error) {
    static const bool said = [&] {
      MESSAGE("on the CPU alone: ", std::string(error.what()));
      return true;
    }();
    return (void)said;
  }
  CAPTURE(gpu->name());
  body(*gpu);
}

std::vector<int> Numbers(int count, int first = 0) {
  std::vector<int> numbers(count);
  for (int i = 0; i < count; ++i) numbers[i] = first + i;
  return numbers;
}

// A host function that holds its lane until Open, at the latest when it ends.
class Gate {
 public:
  ~Gate() { Open(); }
  void Hold(Lane& lane) {
    lane.Call([](void* gate) { static_cast<Gate*>(gate)->open_.wait(false); }, this, "hold");
  }
  void Open() {
    open_ = true;
    open_.notify_all();
  }

 private:
  std::atomic<bool> open_{false};
};

void QueueFailure(Lane& lane) {
  lane.Call([](void*) { throw Error(ErrorKind::kIo, "disk", "gone"); }, nullptr, "fail");
}

void Count(void* calls) { ++*static_cast<int*>(calls); }

TEST_CASE("memory: counted, limited, zeroed, given back") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
    const int64_t used = device.used_bytes();
    {
      Buffer first = device.Allocate(6000, "the first");
      CHECK(reinterpret_cast<uintptr_t>(first.data()) % 256 == 0);
      std::vector<int> content = Numbers(1500, 1);
      lane->Copy(content.data(), first.data(), 6000, "copy");
      lane->Synchronize();
      CHECK(content == std::vector<int>(1500));
      CHECK_THROWS_WITH_AS(device.Allocate(kLimitBytes, "the second"),
                           doctest::Contains("the second needs 67108864 bytes; "), Error);
      Buffer second = device.Allocate(4000, "the second");
      CHECK(device.used_bytes() == used + 10000);
      second = std::move(first);
      CHECK(device.used_bytes() == used + 6000);
    }
    CHECK(device.used_bytes() == used);
    CHECK(device.peak_bytes() == used + 10000);
    CHECK(device.memory_limit_bytes() == kLimitBytes);
    CHECK(device.Allocate(0, "nothing").data() == nullptr);
  });
}

TEST_CASE("copies run in order, to the device, on it, and back, whole and in pieces") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
    const Buffer a = device.Allocate(4096, "a"), b = device.Allocate(4096, "b");
    const std::vector<int> from = Numbers(1024);
    std::vector<int> to(1024), expected = from;
    const auto host = reinterpret_cast<const std::byte*>(from.data());
    lane->Copy(a.data(), from.data(), 4096, "copy");
    lane->Copy(b.data(), a.data(), 4096, "copy");
    const std::vector<CopyPiece> pieces = {
        {b.data(), host + 400, 40}, {b.data() + 4000, host, 96}, {b.data() + 800, host + 8, 0}};
    lane->CopyPieces(pieces, "copy");
    lane->CopyPieces({}, "copy");
    lane->Copy(nullptr, nullptr, 0, "copy");
    lane->Copy(to.data(), b.data(), 4096, "copy");
    lane->Synchronize();
    std::copy_n(from.begin() + 100, 10, expected.begin());
    std::copy_n(from.begin(), 24, expected.begin() + 1000);
    CHECK(to == expected);
  });
}

TEST_CASE("pinned memory copies like any other, in pieces too, and can be pinned again") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
    const Buffer on_device = device.Allocate(1 << 20, "a buffer");
    for (int round = 0; round < 2; ++round) {
      std::vector<int> from = Numbers(1 << 18, round), to(1 << 18);
      const auto pin_from = device.Pin(std::as_writable_bytes(std::span(from)));
      const auto pin_to = device.Pin(std::as_writable_bytes(std::span(to)));
      std::vector<CopyPiece> pieces;
      const auto bytes = reinterpret_cast<const std::byte*>(from.data());
      for (int64_t i = 0; i < 512; ++i) pieces.push_back({on_device.data() + i * 2048, bytes + i * 2048, 2048});
      pieces.push_back({on_device.data(), bytes, 0});
      lane->CopyPieces(pieces, "copy");
      lane->Copy(to.data(), on_device.data(), 1 << 20, "copy");
      lane->Synchronize();
      CHECK(to == from);
    }
    CHECK(device.Pin({}) == nullptr);
  });
}

TEST_CASE("an event: done before it was ever recorded, then done when its work is") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "lane"});
    const std::unique_ptr<Event> event = device.NewEvent();
    CHECK(event->Done());
    event->Wait();
    lane->WaitFor(*event);
    Gate gate;
    gate.Hold(*lane);
    lane->Record(*event);
    CHECK_FALSE(event->Done());
    gate.Open();
    event->Wait();
    CHECK(event->Done());
  });
}

// Which runs only in the right order.
struct Handover {
  int value = 0, next = 0;
  static void Produce(void* self) { ++static_cast<Handover*>(self)->value; }
  static void Consume(void* self) {
    Handover& handover = *static_cast<Handover*>(self);
    if (handover.value != ++handover.next) throw Error(ErrorKind::kIo, "consumer", "too early or too late");
  }
};

TEST_CASE("an event orders two lanes, and may go before the work that it orders") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> producer = device.NewLane({.name = "producer"});
    const std::unique_ptr<Lane> consumer = device.NewLane({.name = "consumer", .high_priority = true});
    Handover handover;
    for (int i = 0; i < 1000; ++i) {
      const std::unique_ptr<Event> produced = device.NewEvent(), consumed = device.NewEvent();
      producer->Call(&Handover::Produce, &handover, "produce");
      producer->Record(*produced);
      consumer->WaitFor(*produced);
      consumer->Call(&Handover::Consume, &handover, "consume");
      consumer->Record(*consumed);
      producer->WaitFor(*consumed);
    }
    CHECK_NOTHROW(consumer->Synchronize());
    producer->Synchronize();
    CHECK(handover.next == 1000);
  });
}

TEST_CASE("host functions run in order with copies, and may fill what is copied next") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
    const Buffer on_device = device.Allocate(1 << 20, "a buffer");
    std::vector<int> memory(1 << 18);
    const auto increase = [](void* context) {
      for (int& value : *static_cast<std::vector<int>*>(context)) ++value;
    };
    for (int i = 0; i < 20; ++i) {
      lane->Call(increase, &memory, "increase");
      lane->Copy(on_device.data(), memory.data(), 1 << 20, "copy");
      lane->Call(increase, &memory, "increase");
      lane->Copy(memory.data(), on_device.data(), 1 << 20, "copy");
    }
    lane->Synchronize();
    CHECK(memory == std::vector<int>(1 << 18, 20));
  });
}

TEST_CASE("an error completes events, leaves host functions their turn and comes out of Synchronize once") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "lane"});
    const std::unique_ptr<Event> event = device.NewEvent();
    int calls = 0;
    QueueFailure(*lane);
    lane->Call(&Count, &calls, "count");
    lane->Record(*event);
    event->Wait();
    const Buffer on_device = device.Allocate(4, "a number");
    std::vector<int> seven{7}, passed_over{1};
    lane->Copy(passed_over.data(), on_device.data(), 4, "copy");
    CHECK_THROWS_WITH_AS(lane->Synchronize(), "disk: gone", Error);
    CHECK(calls == 1);
    CHECK(passed_over.front() == 1);
    lane->Copy(on_device.data(), seven.data(), 4, "copy");
    lane->Copy(passed_over.data(), on_device.data(), 4, "copy");
    lane->Call(&Count, &calls, "count");
    CHECK_NOTHROW(lane->Synchronize());
    CHECK(passed_over.front() == 7);
    CHECK(calls == 2);
  });
}

TEST_CASE("an error reaches the lanes that wait for the failed one's events, also through others, and those only") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> copy = device.NewLane({.name = "copy"}), compute = device.NewLane({.name = "compute"});
    const std::unique_ptr<Lane> last = device.NewLane({.name = "last"}), other = device.NewLane({.name = "other"});
    const std::unique_ptr<Event> before = device.NewEvent(), after = device.NewEvent(), computed = device.NewEvent();
    Gate gate;
    gate.Hold(*copy);  // so that all waits come before the failure
    copy->Record(*before);
    QueueFailure(*copy);
    copy->Record(*after);
    compute->WaitFor(*after);
    compute->Record(*computed);
    last->WaitFor(*computed);
    other->WaitFor(*before);
    gate.Open();
    CHECK_NOTHROW(other->Synchronize());
    for (Lane* lane : {last.get(), compute.get(), copy.get()}) {
      CAPTURE(lane->name());
      CHECK_THROWS_WITH_AS(lane->Synchronize(), "disk: gone", Error);
      CHECK_NOTHROW(lane->Synchronize());
    }
    // What the copy lane does from here on is sound again.
    copy->Record(*after);
    other->WaitFor(*after);
    CHECK_NOTHROW(other->Synchronize());
  });
}

TEST_CASE("a lane that waits for an event gets the error of that recording, though it has been recorded again since") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> copy = device.NewLane({.name = "copy"}), late = device.NewLane({.name = "late"});
    const std::unique_ptr<Lane> early = device.NewLane({.name = "early"});
    const std::unique_ptr<Event> event = device.NewEvent();
    Gate gate;  // both get to their waits when all recordings are done
    gate.Hold(*early);
    gate.Hold(*late);
    copy->Record(*event);
    early->WaitFor(*event);
    QueueFailure(*copy);
    for (int i = 0; i < 3; ++i) copy->Record(*event);
    late->WaitFor(*event);
    CHECK_THROWS_WITH_AS(copy->Synchronize(), "disk: gone", Error);
    copy->Record(*event);
    event->Wait();
    gate.Open();
    CHECK_NOTHROW(early->Synchronize());
    CHECK_THROWS_WITH_AS(late->Synchronize(), "disk: gone", Error);
    late->WaitFor(*event);
    CHECK_NOTHROW(late->Synchronize());
  });
}

TEST_CASE("a lane counts what it waits for") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> held = device.NewLane({.name = "held"}), waiting = device.NewLane({.name = "waiting"});
    const std::unique_ptr<Event> event = device.NewEvent();
    for (int i = 0; i < 300; ++i) {  // more than are counted at a time
      held->Call([](void*) {}, nullptr, "nothing");
      held->Record(*event);
      waiting->WaitFor(*event);
    }
    Gate gate;
    gate.Hold(*held);
    held->Record(*event);
    waiting->WaitFor(*event);
    gate.Open();
    waiting->Synchronize();
    CHECK(waiting->waited_ns() > 0);
    CHECK(held->waited_ns() == 0);
  });
}

TEST_CASE("a traced lane leaves spans of its copies and functions: in order, within the host's time of them") {
  Trace trace(1 << 10);
  size_t seen = 0;
  const auto body = [&](Device& device) {
    constexpr int64_t kBytes = 16 << 20;
    std::vector<std::byte> memory(kBytes);
    const std::unique_ptr<HostPin> pin = device.Pin(memory);
    const Buffer on_device = device.Allocate(kBytes, "a buffer");
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "traced"});
    lane->Synchronize();
    const int64_t begin_ns = Trace::Now();
    for (int i = 0; i < 3; ++i) {
      lane->Copy(on_device.data(), memory.data(), kBytes, "to device");
      lane->Call([](void*) {}, nullptr, "function");
      lane->Copy(memory.data(), on_device.data(), kBytes, "to host");
    }
    lane->Copy(memory.data(), on_device.data(), kBytes, nullptr);  // no span
    lane->Synchronize();
    const int64_t end_ns = Trace::Now();
    const std::span<const Trace::Span> spans = trace.Collect().subspan(seen);
    seen += spans.size();
    REQUIRE(spans.size() == 9);
    constexpr int64_t kClocksDifferNs = 200'000;  // a GPU's clock by the host's
    int64_t last_ns = begin_ns - kClocksDifferNs;
    int64_t copying_ns = 0;
    for (size_t i = 0; i < spans.size(); ++i) {
      const Trace::Span& span = spans[i];
      CHECK(trace.rows()[span.row] == "traced");
      CHECK(std::string(span.name) == std::array{"to device", "function", "to host"}[i % 3]);
      CHECK(span.begin_ns >= last_ns - 1000);  // of rounding
      CHECK(span.end_ns >= span.begin_ns);
      last_ns = span.end_ns;
      if (i % 3 != 1) copying_ns += span.end_ns - span.begin_ns;
    }
    CHECK(last_ns <= end_ns + kClocksDifferNs);
    CHECK(copying_ns > 6 * 10'000);  // 1600 GB/s
    CHECK(trace.dropped_spans() == 0);
  };
  ForEachDevice(body, &trace);
}

TEST_CASE("more spans than are kept at a time: all are told of, or counted") {
  constexpr int64_t kCopies = 40'000;
  Trace trace(1 << 18);
  ForEachDevice(
      [&](Device& device) {
        const Buffer a = device.Allocate(8, "a"), b = device.Allocate(8, "b");
        const std::unique_ptr<Lane> lane = device.NewLane({.name = "traced"});
        const int64_t before = trace.spans() + trace.dropped_spans();
        for (int64_t i = 0; i < kCopies; ++i) lane->Copy(b.data(), a.data(), 8, "copy");
        lane->Synchronize();
        (void)trace.Collect();
        CHECK(trace.spans() + trace.dropped_spans() - before == kCopies);
      },
      &trace);
}

TEST_CASE("a throttled lane copies all the same, in order, and takes the link's time") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy", .copy_gbps = 0.001});
    const Buffer on_device = device.Allocate(8000, "a buffer");
    const std::vector<int> from = Numbers(2000);
    std::vector<int> to(2000);
    const auto host = reinterpret_cast<const std::byte*>(from.data());
    const std::vector<CopyPiece> pieces = {{on_device.data() + 4000, host + 4000, 4000},
                                           {on_device.data(), host, 4000}};
    const auto begin = std::chrono::steady_clock::now();
    lane->CopyPieces(pieces, "copy");
    lane->Copy(to.data(), on_device.data(), 8000, "copy");
    lane->Synchronize();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    CHECK(to == from);
    CHECK(took.count() > 14);  // 16, by two clocks
  });
}

TEST_CASE("a lane that cannot capture says so") {
  ForEachDevice([](Device& device) {
    const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"});
    if (lane->captures()) return;
    CHECK_THROWS_WITH_AS(lane->Capture([] {}), doctest::Contains("cpu, lane compute: its work cannot be captured"),
                         Error);
  });
}

}  // namespace
}  // namespace triforce
