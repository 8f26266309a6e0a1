#include "stream/backfill.h"

#include <algorithm>
#include <utility>

#include "spdlog/spdlog.h"

namespace segmentd {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);

absl::Duration Backoff(int failures) {
  return std::min(absl::Milliseconds(100) * (1 << std::min(failures, 10)), absl::Seconds(10));
}

}  // namespace

HistoryReading::HistoryReading(HistoryRequest request)
    : request_(std::move(request)),
      history_(std::make_unique<History>(request_.rules, request_.settings)),
      decoder_(std::make_unique<Decoder>(request_.settings)) {}

double HistoryReading::progress() const {
  if (done()) return 1;
  const int64_t first = first_.load(std::memory_order_relaxed);
  const int64_t all = request_.until.value() - first;
  if (first < 0 || all <= 0) return 0;
  const int64_t read = position_.load(std::memory_order_relaxed) - first;
  return std::clamp(static_cast<double>(read) / static_cast<double>(all), 0.0, 1.0);
}

Backfill::Backfill(Options options, HistorySource& source, Clock& clock)
    : options_(options), source_(source), clock_(clock) {}

Backfill::~Backfill() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<HistoryReading> Backfill::begin(HistoryRequest request, TaskMetrics& metrics) {
  auto reading = std::make_shared<HistoryReading>(std::move(request));
  const std::scoped_lock lock(mutex_);
  waiting_.push_back({reading, &metrics});
  if (options_.background && !thread_.joinable()) thread_ = std::thread([this] { run(); });
  changed_.notify_all();
  return reading;
}

std::shared_ptr<HistoryReading> Backfill::next() {
  // Whoever wanted the present one holds it too.
  if (auto present = current_.reading.lock(); present && !present->done()) {
    if (present.use_count() > 1) return present;
  }
  if (std::exchange(open_, false)) source_.close();
  const std::scoped_lock lock(mutex_);
  current_ = {};
  while (!waiting_.empty()) {
    Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    if (auto reading = first.reading.lock()) {
      current_ = std::move(first);
      retry_at_ = -absl::InfiniteDuration();
      return reading;
    }
  }
  return nullptr;
}

void Backfill::run() {
  const auto stopping = [this] { return stopping_; };
  for (;;) {
    std::shared_ptr<HistoryReading> reading = next();
    absl::Duration pause = absl::InfiniteDuration();
    if (reading) {
      const absl::Duration began = clock_.monotonic();
      portion(*reading, kWait);
      const absl::Duration now = clock_.monotonic();
      pause = std::max(retry_at_ - now, absl::ZeroDuration());
      if (busy_.load(std::memory_order_relaxed)) {
        pause += (now - began) * (1 / options_.busy_share - 1);
      }
    }
    reading.reset();
    std::unique_lock lock(mutex_);
    if (pause == absl::InfiniteDuration()) {
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    } else if (pause > absl::ZeroDuration()) {
      changed_.wait_for(lock, absl::ToChronoNanoseconds(pause), stopping);
    }
    if (stopping_) break;
  }
  if (std::exchange(open_, false)) source_.close();
}

void Backfill::turn() {
  if (options_.background) return;
  if (const std::shared_ptr<HistoryReading> reading = next()) {
    if (clock_.monotonic() >= retry_at_) portion(*reading, absl::ZeroDuration());
  }
}

void Backfill::portion(HistoryReading& reading, absl::Duration wait) {
  const absl::Status status = read(reading, wait);
  if (status.ok()) return;
  open_ = false;
  retry_at_ = clock_.monotonic() + Backoff(reading.failures_++);
  spdlog::warn("partition {}: the history is not read on at offset {}, trying again: {}",
               reading.request().partition, reading.position_.load(),
               std::string(status.message()));
}

absl::Status Backfill::read(HistoryReading& reading, absl::Duration wait) {
  const HistoryRequest& request = reading.request();
  const auto position = [&] { return Offset(reading.position_.load(std::memory_order_relaxed)); };
  if (!open_) {
    const absl::StatusOr<Offset> at = source_.open(request.partition, position());
    if (!at.ok()) return at.status();
    open_ = true;
    if (reading.first_ < 0) reading.first_ = at->value();
    reading.position_ = at->value();
  }
  if (position() < request.until) {
    const absl::StatusOr<const Batch*> batch = source_.poll(wait);
    if (!batch.ok()) return batch.status();
    Event event;
    std::string_view user;
    int64_t read = 0;
    for (const Record& record : (*batch)->records) {
      if (record.offset < position()) continue;
      reading.position_.store(record.offset.next().value(), std::memory_order_relaxed);
      if (record.offset >= request.until) break;
      ++read;
      if (!reading.decoder_->decode(record, request.rules->fields(), &event, &user).ok()) continue;
      reading.history_->add(record.key, event);
    }
    for (const Batch::End& end : (*batch)->ends) {
      if (end.position > position()) reading.position_ = end.position.value();
    }
    if (read > 0) {
      current_.metrics->backfill_records.add(read);
      reading.failures_ = 0;
    }
  }
  if (position() < request.until) return absl::OkStatus();
  source_.close();
  open_ = false;
  reading.history_->finish();
  reading.decoder_.reset();
  reading.result_ = std::move(reading.history_);
  reading.done_.store(true, std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace segmentd
