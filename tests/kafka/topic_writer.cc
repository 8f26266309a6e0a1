#include "tests/kafka/topic_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/kafka/failure.h"

namespace segmentd {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);

}  // namespace

TopicWriter::TopicWriter(const std::string& bootstrap_servers, std::string topic)
    : topic_(std::move(topic)) {
  const KafkaSettings settings = Must(KafkaSettings::Parse(bootstrap_servers));
  KafkaConf conf = Must(MakeKafkaConf(settings, KafkaRole::kWriter));
  rd_kafka_conf_set_dr_msg_cb(
      conf.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
        // -1 when it was not delivered.
        *static_cast<int64_t*>(message->_private) =
            message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? message->offset : -1;
      });
  handle_ = Must(MakeKafkaHandle(KafkaRole::kWriter, std::move(conf)));
}

std::vector<int64_t> TopicWriter::append(const std::vector<NewRecord>& records) {
  std::vector<int64_t> offsets(records.size(), -1);
  const auto give_up = [&](std::string_view why) {
    // Before `offsets` goes, which delivery reports write to.
    handle_.reset();
    Fail(fmt::format("appending to topic {}: {}", topic_, why));
  };
  for (size_t i = 0; i < records.size(); ++i) {
    const NewRecord& record = records[i];
    const char* const key = record.key ? record.key->data() : nullptr;
    const size_t key_size = record.key ? record.key->size() : 0;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
      rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
      for (const auto& [name, value] : record.headers) {
        rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()),
                            value ? value->data() : nullptr,
                            value ? static_cast<ssize_t>(value->size()) : 0);
      }
      error = rd_kafka_producev(
          handle_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()), RD_KAFKA_V_PARTITION(record.partition),
          RD_KAFKA_V_KEY(key, key_size),
          RD_KAFKA_V_VALUE(record.has_value ? const_cast<char*>(record.value.data()) : nullptr,
                           record.has_value ? record.value.size() : 0),
          RD_KAFKA_V_TIMESTAMP(record.record_time.millis()), RD_KAFKA_V_HEADERS(headers),
          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(&offsets[i]), RD_KAFKA_V_END);
      if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        rd_kafka_poll(handle_.get(), 10);
      }
    } while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) give_up(rd_kafka_err2str(error));
    rd_kafka_poll(handle_.get(), 0);
  }
  if (rd_kafka_flush(handle_.get(), KafkaTimeoutMs(kLimit)) != RD_KAFKA_RESP_ERR_NO_ERROR ||
      std::find(offsets.begin(), offsets.end(), -1) != offsets.end()) {
    give_up("the broker did not take all records");
  }
  return offsets;
}

}  // namespace segmentd
