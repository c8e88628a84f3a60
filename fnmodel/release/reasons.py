"""What a person does about each reason for which Lambda cannot load a function."""

_AGAIN = "this is on AWS's side; run the same command again in some minutes"
_QUOTA = "ask AWS for a higher quota (Service Quotas), or free some of it in this account"
_KMS = "the KMS key must be enabled and the function's role must be allowed to use it"
_VPC = "the function was put into a VPC outside of fnmodel; look at its subnets and security groups"
_EFS = "a file system was attached outside of fnmodel; look at its mount target and access point"
_IMAGE = "pack the image again: `fnmodel pack`, then `fnmodel deploy`"
_INIT = "the image's code does not start; `fnmodel logs` shows its traceback"

# State and LastUpdateStatus reason codes of the Lambda API.
REMEDIES = {
    "Idle": "the function slept; run the same command again",
    "Creating": _AGAIN,
    "Restoring": _AGAIN,
    "InternalError": _AGAIN,
    "DependencyError": _AGAIN,
    "InsufficientCapacity": _AGAIN,
    "DrainingDurableExecutions": _AGAIN,
    "EniLimitExceeded": _QUOTA,
    "ServiceQuotaExceededException": _QUOTA,
    "VcpuLimitExceeded": _QUOTA,
    "CapacityProviderScalingLimitExceeded": _QUOTA,
    "EC2RequestLimitExceeded": _QUOTA,
    "InsufficientRolePermissions": "the function's role was changed by hand; deploy again",
    "InvalidConfiguration": "memory, timeout or environment do not fit together; see fnmodel.yaml",
    "SubnetOutOfIPAddresses": _VPC,
    "InvalidSubnet": _VPC,
    "InvalidSecurityGroup": _VPC,
    "DisallowedByVpcEncryptionControl": _VPC,
    "ImageDeleted": "the image is gone from ECR; `fnmodel deploy` pushes it again",
    "ImageAccessDenied": "Lambda may not pull from the repository; `fnmodel deploy` grants it",
    "InvalidImage": _IMAGE,
    "InvalidRuntime": _IMAGE,
    "InvalidZipFileException": _IMAGE,
    "KMSKeyAccessDenied": _KMS,
    "KMSKeyNotFound": _KMS,
    "InvalidStateKMSKey": _KMS,
    "DisabledKMSKey": _KMS,
    "EFSIOError": _EFS,
    "EFSMountConnectivityError": _EFS,
    "EFSMountFailure": _EFS,
    "EFSMountTimeout": _EFS,
    "FunctionError": _INIT,
    "FunctionError.InitTimeout": "loading takes over 10 s; give more memory (function.memory)",
    "FunctionError.RuntimeInitError": _INIT,
    "FunctionError.ExtensionInitError": _INIT,
    "FunctionError.InvalidEntryPoint": _IMAGE,
    "FunctionError.InvalidWorkingDirectory": _IMAGE,
    "FunctionError.PermissionDenied": _IMAGE,
    "FunctionError.TooManyExtensions": _IMAGE,
    "FunctionError.InitResourceExhausted": "give the function more memory (function.memory)",
}


def remedy(code: str) -> str:
    """Return what to do about a reason code, also for one that this version does not know."""
    return REMEDIES.get(code, "the code is explained in AWS's guide on Lambda function states")
