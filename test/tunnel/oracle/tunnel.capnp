# What Cloudflare's edge and a connector say to each other, so that the C++ implementation can judge ours.
# Ordinals follow from the layouts; names that are not on the wire are our own.
@0xe5c1d9a3b47f2081;

# --- The content of RPC payloads. ---

struct RegisterConnectionParams {
  auth @0 :TunnelAuth;
  tunnelId @1 :Data;
  connIndex @2 :UInt8;
  options @3 :ConnectionOptions;
}

struct TunnelAuth {
  accountTag @0 :Text;
  tunnelSecret @1 :Data;
}

struct ConnectionOptions {
  client @0 :ClientInfo;
  originLocalIp @1 :Data;
  replaceExisting @2 :Bool;
  compressionQuality @3 :UInt8;
  numPreviousAttempts @4 :UInt8;
}

struct ClientInfo {
  clientId @0 :Data;
  features @1 :List(Text);
  version @2 :Text;
  arch @3 :Text;
}

struct RegisterConnectionResults {
  result @0 :ConnectionResponse;
}

struct ConnectionResponse {
  union {
    error @0 :ConnectionError;
    connectionDetails @1 :ConnectionDetails;
  }
}

struct ConnectionError {
  cause @0 :Text;
  retryAfter @1 :Int64;
  shouldRetry @2 :Bool;
}

struct ConnectionDetails {
  uuid @0 :Data;
  locationName @1 :Text;
  tunnelIsRemotelyManaged @2 :Bool;
}

struct UpdateLocalConfigurationParams {
  config @0 :Data;
}

struct UpdateConfigurationParams {
  version @0 :Int32;
  config @1 :Data;
}

struct UpdateConfigurationResults {
  result @0 :UpdateConfigurationResponse;
}

struct UpdateConfigurationResponse {
  latestAppliedVersion @0 :Int32;
  err @1 :Text;
}

struct RegisterUdpSessionParams {
  sessionId @0 :Data;
  dstIp @1 :Data;
  dstPort @2 :UInt16;
  closeAfterIdleHint @3 :Int64;
  traceContext @4 :Text;
}

struct RegisterUdpSessionResults {
  result @0 :RegisterUdpSessionResponse;
}

struct RegisterUdpSessionResponse {
  err @0 :Text;
  spans @1 :Data;
}

struct UnregisterUdpSessionParams {
  sessionId @0 :Data;
  message @1 :Text;
}

struct Nothing {}

# --- The heads of QUIC data streams. ---

struct ConnectRequest {
  dest @0 :Text;
  type @1 :ConnectionType;
  metadata @2 :List(Metadata);
}

enum ConnectionType {
  http @0;
  websocket @1;
  tcp @2;
}

struct ConnectResponse {
  error @0 :Text;
  metadata @1 :List(Metadata);
}

struct Metadata {
  key @0 :Text;
  val @1 :Text;
}

# --- RPC. The content of a payload is of one kind here, which the test chooses by replacing the next line. ---

using Content = Nothing;

struct Message {
  union {
    unimplemented @0 :Message;
    abort @1 :Exception;
    call @2 :Call;
    return @3 :Return;
    finish @4 :Finish;
    resolve @5 :AnyPointer;
    release @6 :Release;
    obsoleteSave @7 :AnyPointer;
    bootstrap @8 :Bootstrap;
    obsoleteDelete @9 :AnyPointer;
    provide @10 :AnyPointer;
    accept @11 :AnyPointer;
    join @12 :AnyPointer;
    disembargo @13 :Disembargo;
  }
}

struct Bootstrap {
  questionId @0 :UInt32;
  deprecatedObjectId @1 :AnyPointer;
}

struct Call {
  questionId @0 :UInt32;
  target @1 :MessageTarget;
  interfaceId @2 :UInt64;
  methodId @3 :UInt16;
  params @4 :Payload;
  sendResultsTo :union {
    caller @5 :Void;
    yourself @6 :Void;
    thirdParty @7 :AnyPointer;
  }
  allowThirdPartyTailCall @8 :Bool;
}

struct Return {
  answerId @0 :UInt32;
  releaseParamCaps @1 :Bool = true;
  union {
    results @2 :Payload;
    exception @3 :Exception;
    canceled @4 :Void;
    resultsSentElsewhere @5 :Void;
    takeFromOtherQuestion @6 :UInt32;
    acceptFromThirdParty @7 :AnyPointer;
  }
}

struct Finish {
  questionId @0 :UInt32;
  releaseResultCaps @1 :Bool = true;
}

struct Release {
  id @0 :UInt32;
  referenceCount @1 :UInt32;
}

struct Disembargo {
  target @0 :MessageTarget;
  context :union {
    senderLoopback @1 :UInt32;
    receiverLoopback @2 :UInt32;
    accept @3 :Void;
    provide @4 :UInt32;
  }
}

struct MessageTarget {
  union {
    importedCap @0 :UInt32;
    promisedAnswer @1 :PromisedAnswer;
  }
}

struct PromisedAnswer {
  questionId @0 :UInt32;
  transform @1 :List(Op);

  struct Op {
    union {
      noop @0 :Void;
      getPointerField @1 :UInt16;
    }
  }
}

struct Payload {
  content @0 :Content;
  capTable @1 :List(CapDescriptor);
}

struct CapDescriptor {
  union {
    none @0 :Void;
    senderHosted @1 :UInt32;
    senderPromise @2 :UInt32;
    receiverHosted @3 :UInt32;
    receiverAnswer @4 :PromisedAnswer;
    thirdPartyHosted @5 :AnyPointer;
  }
}

struct Exception {
  reason @0 :Text;
  obsoleteIsCallersFault @1 :Bool;
  obsoleteDurability @2 :UInt16;
  type @3 :Type;

  enum Type {
    failed @0;
    overloaded @1;
    disconnected @2;
    unimplemented @3;
  }
}
