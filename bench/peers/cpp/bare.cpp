// The bar for the front: the least that gRPC C++ (callback API) does for the same messages.
//
// One handler that parses the request, reads the answer of its subject from LMDB, parses and serialises it: no identity, no
// grant, no metrics. Usage: `bare HOST:PORT REQUEST ANSWER DIRECTORY`, the files holding a serialised CallRequest and its
// CallResponse, the directory being its own. What must not go in here: anything that the Python peer (aio_bare.py) does not do.

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>
#include <lmdb.h>

#include "broker/v1/exchange.grpc.pb.h"

namespace {

using broker::v1::CallRequest;
using broker::v1::CallResponse;

void check(int failure) {
  if (failure == 0) return;
  std::cerr << mdb_strerror(failure) << "\n";
  std::exit(1);
}

MDB_val bytes(const std::string& text) { return {text.size(), const_cast<char*>(text.data())}; }

std::string key_of(const CallRequest& request) {
  std::string key = request.interface();
  const auto found = request.arguments().find("resident_id");
  if (found != request.arguments().end()) key.append(1, '\0').append(found->second);
  return key;
}

class Answers {
 public:
  explicit Answers(const std::string& directory) {
    check(mdb_env_create(&environment_));
    check(mdb_env_open(environment_, directory.c_str(), 0, 0600));
  }

  void write(const std::string& key, const std::string& answer) {
    MDB_txn* transaction = nullptr;
    MDB_val name = bytes(key), value = bytes(answer);
    check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    check(mdb_dbi_open(transaction, nullptr, 0, &database_));
    check(mdb_put(transaction, database_, &name, &value, 0));
    check(mdb_txn_commit(transaction));
  }

  bool read(const std::string& key, CallResponse* response) const {
    MDB_val name = bytes(key), value;
    MDB_txn* transaction = reader();
    const bool found = mdb_get(transaction, database_, &name, &value) == 0 &&
                       response->ParseFromArray(value.mv_data, static_cast<int>(value.mv_size));
    mdb_txn_reset(transaction);
    return found;
  }

 private:
  MDB_txn* reader() const {  // one for each thread, begun once
    thread_local MDB_txn* transaction = nullptr;
    if (transaction == nullptr) {
      check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction));
    } else {
      check(mdb_txn_renew(transaction));
    }
    return transaction;
  }

  MDB_env* environment_ = nullptr;
  MDB_dbi database_ = 0;
};

class Bare final : public broker::v1::ExchangeService::CallbackService {
 public:
  explicit Bare(const Answers& answers) : answers_(answers) {}

  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const CallRequest* request,
                                 CallResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const bool found = answers_.read(key_of(*request), response);
    reactor->Finish(found ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such answer"));
    return reactor;
  }

 private:
  const Answers& answers_;
};

std::string content(const char* file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int count, char** words) {
  CallRequest request;
  if (count != 5 || !request.ParseFromString(content(words[2]))) return 2;
  Answers answers(words[4]);
  answers.write(key_of(request), content(words[3]));
  Bare service(answers);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(words[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  server->Wait();
}
