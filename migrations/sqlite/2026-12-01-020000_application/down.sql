DROP TABLE matssocket_application;
